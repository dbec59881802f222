"""Where log lines are written: a file descriptor that may be broken, full or unread. Lines are lost then, and counted."""

import os
import select
from collections import deque

__all__ = ["LogOutput"]

_BACKLOG_BYTES = 1_000_000  # while nobody reads the other end of a pipe
_CHUNK_BYTES = select.PIPE_BUF  # a pipe that can be written to takes so much without blocking


class LogOutput:
    """A text file for whole lines. Writing neither raises nor blocks."""

    def __init__(self, descriptor: int) -> None:
        self.lost = 0
        """Lines that were lost since the last one that was written."""
        self._descriptor = descriptor
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        """Write lines, together with those that could not be written before."""
        lines = text.encode(errors="backslashreplace")
        if self._backlog_bytes + len(lines) > _BACKLOG_BYTES:
            self.lost += 1
        else:
            self._append(lines)
        self._drain()

    def flush(self) -> None:
        """Do nothing more: each line is written at once."""

    def _append(self, lines: bytes) -> None:
        self._backlog.append(lines)
        self._backlog_bytes += len(lines)

    def _drain(self) -> None:
        while self._backlog:
            if not self._poll.poll(0):
                return
            lines = self._backlog[0]
            try:
                written = os.write(self._descriptor, lines[:_CHUNK_BYTES])
            except BlockingIOError:
                return
            except OSError:
                self._drop_backlog()
                return
            self._backlog_bytes -= written
            if written < len(lines):
                self._backlog[0] = lines[written:]
            else:
                self._backlog.popleft()

    def _drop_backlog(self) -> None:
        self.lost += len(self._backlog)
        self._backlog.clear()
        self._backlog_bytes = 0
