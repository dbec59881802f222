"""Signals to this process, told with who meant them: a terminal's Ctrl-C reaches the command by itself, a `kill` of ours does not."""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from daemon.cli.exec.supervisor_process import RELAYED

__all__ = ["Relay", "die_by"]


class Relay:
    """Takes the signals of `RELAYED` from when it is made; those that this process was started to ignore stay ignored.

    They are taken by `sigwaitinfo`, since no handler of Python's is told where a signal comes from.
    """

    def __init__(self) -> None:
        self._numbers = [number for number in RELAYED if signal.getsignal(number) is not signal.SIG_IGN]
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)

    def follow(self, heard: Callable[[int, bool], None]) -> None:
        """Have `heard` called in the running loop, with each signal and whether a process sent it, not the terminal."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            with suppress(RuntimeError):  # the loop is closed, and so is everything
                while True:
                    info = signal.sigwaitinfo(self._numbers)
                    loop.call_soon_threadsafe(heard, info.si_signo, info.si_code <= 0)

        if self._numbers:
            threading.Thread(target=wait, name="signals", daemon=True).start()


def die_by(number: int) -> None:
    """End this process by a signal, as the command has ended by it: a shell that runs a loop ends it on Ctrl-C only then."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    signal.raise_signal(number)
