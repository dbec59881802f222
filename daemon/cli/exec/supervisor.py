"""The process between `lockstore exec` and its command. It ends the command, and all that it started, when the lease does.

    exec ──start, until, signal, lost──► minder ──► command ──► whatever that starts
         ◄───────failed, ended──────────

It is told until when the lease is safe, and kills before that moment unless it is told a later one. It asks nobody, so this
holds too when `exec` hangs or is stopped; and when `exec` is gone, it kills at once. It adopts what its descendants leave
behind (a child subreaper), so that nothing slips away from it by losing its parent. If it is killed itself, the kernel kills
the command.
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
    """The command has ended: its exit code, or minus the signal that ended it; None: it is not known.

    `cut`: the minder ended it. `left`: processes that it could not kill, another user's for example.
    """

    code: int | None
    cut: bool = False
    left: tuple[int, ...] = ()


class Supervisor:
    """This side of it: `with Supervisor(argv) as minder:`, early, since the process is a copy of this one."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv

    def __enter__(self) -> Self:
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            self._wire.close()
            supervise(theirs, self._argv)  # which never returns
        theirs.close()
        self._wire.settimeout(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()
        with suppress(ChildProcessError):  # where SIGCHLD is ignored, the kernel has done it
            os.waitpid(self._pid, 0)

    def start(self, until: float, grace_s: float, variables: Mapping[str, str]) -> "asyncio.Future[Failed | Ended]":
        """Have the command started, with these variables in its environment, and give what will become of it.

        `until`: the moment on the monotonic clock before which it must have ended. `grace_s`: how long before that it is
        asked to end with SIGTERM.
        """
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
        """Let the command run until then: the lease was renewed."""
        self._say("until", until)

    def signal(self, number: int) -> None:
        """Send the command a signal."""
        self._say("signal", number)

    def terminate(self) -> None:
        """End the command now: the lease is lost."""
        self._say("lost")

    def _say(self, *word: Any) -> None:
        # It has ended, and what became of the command is there to be read; or somebody has stopped it, and it hears nothing.
        with suppress(ConnectionError, BlockingIOError):
            self._wire.send(json.dumps(word).encode())

    def _outcome(self) -> Failed | Ended:
        match json.loads(heard(self._wire) or "[]"):
            case ["failed", number]:
                return Failed(number)
            case ["ended", code, cut, left]:
                return Ended(code, cut, tuple(left))
            case _:  # somebody has killed it, and so the command
                return Ended(None, cut=True)
