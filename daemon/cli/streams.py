"""Standard output and error of a command: what cannot be shown is replaced, and what cannot be written ends nothing."""

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

__all__ = ["lost_output", "prepare"]

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
    """A file that takes everything, and remembers the first error that kept it from being written."""

    error: OSError | None = None

    def write(self, data: "Buffer") -> int:
        """Write, or drop what cannot be written."""
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
    codecs.register_error("lockstore", _replace)
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _occupy(number, mode)
    sys.stdout = _open(1, sys.stdout)
    sys.stderr = _open(2, sys.stderr)
    sys.excepthook = _print_exception


def lost_output() -> OSError | None:
    """Write what is still buffered, and tell why output was lost, if it was."""
    if sys.stdout is not None:
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Output) else None


def _occupy(number: int, mode: int) -> None:
    """Open /dev/null where a standard file is closed: else the next socket would be taken for it.

    As standard output it is opened for reading, so that writing fails as before.
    """
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, mode)  # the lowest number that is free: those below are open by now
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)  # noqa: FBT003 - its only argument


def _open(number: int, before: TextIO | None) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    is_line_buffered = number == 2 or os.isatty(number)  # noqa: PLR2004 - standard error
    buffer = io.BufferedWriter(_Output(number, "wb", closefd=False))
    return io.TextIOWrapper(buffer, encoding, "lockstore", line_buffering=is_line_buffered)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that the output's encoding lacks: by a similar one, or by an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    return "".join(_REPLACEMENTS.get(char) or _escaped(char) for char in failed), error.end


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode("ascii")


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from lockstore.util.escaping import escape  # noqa: PLC0415 - only when it is needed

    lines = "".join(traceback.format_exception(kind, error, trace)).split("\n")
    print("\n".join(map(escape, lines)), end="", file=sys.stderr)  # noqa: T201 - that is its work
