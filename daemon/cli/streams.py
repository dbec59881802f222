"""Standard output and error of a command: unrepresentable characters are replaced, and write errors do not end it."""

import codecs
import io
import os
import select
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["fitting", "lost_output", "prepare", "print_exception"]

_HANDLER = "lockstore"
_REPLACEMENTS = {
    "\u2013": "-",
    "\u2212": "-",
    "\u2014": "-",
    "\u2026": "~",
    "\u202f": ",",
    "\u2192": ">",
    "\u2500": "-",
}


class _Output(io.FileIO):
    """A file that accepts everything, and remembers the first write error."""

    error: OSError | None = None

    def write(self, data: "Buffer") -> int:
        """Write the data, or drop it after an error."""
        size = len(memoryview(data).cast("B"))
        while self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
                break
            if written is not None:
                return written
            select.select([], [self], [])  # another program has made it non-blocking
        return size


def prepare() -> None:
    """Replace standard output and error of this process. Call once, before anything is printed."""
    codecs.register_error(_HANDLER, _replace)
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _occupy(number, mode)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the file of this number, until the end
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    sys.stdout = _open(1, sys.stdout)
    sys.stderr = _open(2, sys.stderr)
    sys.excepthook = print_exception


def lost_output() -> OSError | None:
    """Flush buffered output, and return the error if output was lost."""
    if sys.stdout is not None:
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Output) else None


def _occupy(number: int, mode: int) -> None:
    """Open /dev/null for closed standard files: otherwise a socket could get their number."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, mode)  # the lowest free number: those below are open by now
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)  # noqa: FBT003 - its only argument


def _open(number: int, before: TextIO | None) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    is_line_buffered = number == 2 or os.isatty(number)  # noqa: PLR2004 - standard error
    buffer = io.BufferedWriter(_Output(number, "wb", closefd=False))
    return io.TextIOWrapper(buffer, encoding, _HANDLER, line_buffering=is_line_buffered)


def fitting(text: str, encoding: str) -> str:
    """Replace characters missing in the output's encoding, as on output, to compute the width of a text."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        codecs.register_error(_HANDLER, _replace)
        return text.encode(encoding, _HANDLER).decode(encoding)
    return text


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters missing in the output's encoding by similar ones, or by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    return "".join(_REPLACEMENTS.get(char) or _escaped(char) for char in failed), error.end


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode("ascii")


def print_exception(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """Print the traceback of an unexpected error, escaped because it may contain untrusted text."""
    from lockstore.util.escaping import escape  # noqa: PLC0415 - only needed here

    lines = "".join(traceback.format_exception(kind, error, trace)).split("\n")
    print("\n".join(map(escape, lines)), end="", file=sys.stderr)  # noqa: T201 - that is its work
