"""The supervisor process between `lockstore exec` and its command: terminates the command and its descendants with the lease.

It knows until when the lease is safe, and kills the command before that time unless it is extended. It depends on no other
process, so this also works if `exec` hangs or is stopped; if `exec` dies, it kills immediately. It is a child subreaper, so
that orphaned descendants cannot escape. If it is killed itself, the kernel kills the command.
"""

import asyncio
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from daemon.cli.exec.supervisor_process import heard, supervise

__all__ = ["Ended", "Failed", "Supervisor"]


@dataclass(frozen=True, slots=True)
class Failed:
    """The command could not be started; `number` is the errno."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The command has ended, with an exit code, or minus the signal that ended it; None: unknown."""

    code: int | None
    cut: bool = False
    left: tuple[int, ...] = ()


class Supervisor:
    """The parent's side: `with Supervisor(argv) as supervisor:`, early, since the supervisor is a fork of this process."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv

    def __enter__(self) -> Self:
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            self._wire.close()
            supervise(theirs, self._argv)  # never returns
        theirs.close()
        self._wire.settimeout(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()
        with suppress(ChildProcessError):  # the kernel has reaped it if SIGCHLD is ignored
            os.waitpid(self._pid, 0)

    def start(self, until: float, grace_s: float, variables: Mapping[str, str]) -> "asyncio.Future[Failed | Ended]":
        """Start the command with additional environment variables, and return a future for its end."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Failed | Ended] = loop.create_future()

        def take() -> None:
            loop.remove_reader(self._wire)
            if not outcome.done():
                outcome.set_result(self._outcome())

        loop.add_reader(self._wire, take)
        self._say("start", until, grace_s, dict(variables))
        return outcome

    def keep(self, until: float) -> None:
        """Let the command run until this time: the lease was renewed."""
        self._say("until", until)

    def signal(self, number: int) -> None:
        """Send the command a signal."""
        self._say("signal", number)

    def terminate(self) -> None:
        """Terminate the command now: the lease is lost."""
        self._say("lost")

    def _say(self, *word: Any) -> None:
        # It has ended, and the command's result can still be read; or it was stopped, and receives nothing.
        with suppress(ConnectionError, BlockingIOError):
            self._wire.send(json.dumps(word).encode())

    def _outcome(self) -> Failed | Ended:
        match json.loads(heard(self._wire) or "[]"):
            case ["failed", number]:
                return Failed(number)
            case ["ended", code, cut, left]:
                return Ended(code, cut, tuple(left))
            case _:  # it was killed, and therefore the command as well
                return Ended(None, cut=True)
