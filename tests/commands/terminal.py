"""A terminal, and a program in it."""

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Self

LIMIT_S = 30.0


class Terminal:
    """Runs a program as the leader of a session of its own, as a terminal window does."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._leader, follower = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            argv,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one system call, no lock
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **(env or {})},
        )
        os.close(follower)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._leader)  # which hangs up
        try:
            self.process.wait(LIMIT_S)
        finally:
            self.process.kill()
            self.process.wait()

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Read until this has been printed since the last time."""
        give_up_at = time.monotonic() + LIMIT_S
        while (found := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < give_up_at, f"{pattern!r} has not been printed, but: {self.seen!r}"
            if not self._read(0.1):
                break
        assert found, f"{pattern!r} has not been printed, but: {self.seen!r}"
        self.seen = self.seen[found.end() :]
        return found

    def insist(self, text: str, pattern: str) -> None:
        """Type again until this is printed: what is typed while a shell changes the terminal's mode is lost."""
        give_up_at = time.monotonic() + LIMIT_S
        while not re.search(pattern, self.seen):
            assert time.monotonic() < give_up_at, f"{pattern!r} has not been printed, but: {self.seen!r}"
            self.type(text)
            self._read(0.2)
        self.expect(pattern)

    def rest(self) -> str:
        """Read until the program has ended."""
        while self._read(LIMIT_S):
            pass
        return self.seen

    def _read(self, limit_s: float) -> bool:
        """Read what there is, and tell whether there may be more."""
        if not select.select([self._leader], [], [], limit_s)[0]:
            return True
        try:
            part = os.read(self._leader, 65_536)
        except OSError:  # the other end is closed
            return False
        self.seen += part.decode(errors="replace")
        return bool(part)
