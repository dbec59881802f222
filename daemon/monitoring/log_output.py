"""Where log lines are written: a file whose reader may hang or be gone, or whose disk may be full.

A thread writes, so that nobody else waits. A line that finds no room or cannot be written is dropped, counted and reported.
"""

import io
import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["DRAIN_S", "LogOutput"]

DRAIN_S = 0.3
"""Seconds that the end of the process waits for lines that are not written yet."""

_BACKLOG_BYTES = 1_000_000  # of lines that wait, beside those that the thread has taken


class LogOutput:
    """Writes whole lines to a file descriptor. `write` neither blocks nor raises, and may be called in a signal handler."""

    def __init__(self, descriptor: int, describe_loss: Callable[[int], str], encoding: str = "utf-8") -> None:
        """`descriptor`: where to write. `describe_loss` turns a number of lost lines into a line that reports it."""
        self.lines_lost = 0
        """Lines that were dropped since the start."""
        self._descriptor = descriptor
        self._describe_loss = describe_loss
        self._encoding = encoding
        self._changed = threading.Condition(threading.RLock())  # a signal handler may log while its thread has the lock
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = 0  # after these lines, because there was no room
        self._is_writing = False
        self._unreported = 0
        self._is_at_line_start = True
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> None:
        """Write one line, or several that belong together, as soon as the file takes them."""
        self._put(text.encode(self._encoding, "backslashreplace"))

    def as_file(self) -> TextIO:
        """Return a text file that writes here, line by line, for code that prints to standard error."""
        return io.TextIOWrapper(
            io.BufferedWriter(_RawOutput(self._put)), self._encoding, "backslashreplace", line_buffering=True
        )

    def drain(self) -> None:
        """Wait until everything is written, at most `DRAIN_S`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._is_writing, DRAIN_S)

    def _put(self, line: bytes) -> None:
        with self._changed:
            if self._bytes + len(line) > _BACKLOG_BYTES:
                self._dropped += 1
                self.lines_lost += 1
            else:
                self._lines.append(line)
                self._bytes += len(line)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                while not self._lines:
                    self._changed.wait()
                lines, dropped = self._lines, self._dropped
                self._lines, self._bytes, self._dropped, self._is_writing = [], 0, 0, True
            for line in lines:
                if not (self._report_loss() and self._write_line(line)):
                    self._unreported += 1
                    with self._changed:
                        self.lines_lost += 1
            self._unreported += dropped
            self._report_loss()

    def _report_loss(self) -> bool:
        """Write how many lines were lost here. False: not even that could be written."""
        if self._unreported:
            if not self._write_line(self._describe_loss(self._unreported).encode(self._encoding, "backslashreplace")):
                return False
            self._unreported = 0
        return True

    def _write_line(self, line: bytes) -> bool:
        rest = line if self._is_at_line_start else b"\n" + line  # the line before was cut off
        try:
            while rest:
                written = self._write_some(rest)
                self._is_at_line_start = rest[:written].endswith(b"\n")
                rest = rest[written:]
        except OSError:
            return False
        return True

    def _write_some(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another program that shares the file has made it non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()


class _RawOutput(io.RawIOBase):
    """The lowest layer of a file: hands everything on."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        super().__init__()
        self._put = put

    def writable(self) -> bool:
        """Say yes: it is for writing."""
        return True

    def write(self, data: "Buffer", /) -> int:
        """Take everything."""
        taken = bytes(data)
        self._put(taken)
        return len(taken)
