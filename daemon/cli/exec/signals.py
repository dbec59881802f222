"""Signals and their origin: a terminal's Ctrl-C reaches the command directly, but a `kill` of this process does not."""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from daemon.cli.exec.supervisor_process import RELAYED

__all__ = ["Relay", "die_by"]


class Relay:
    """Handles the signals of `RELAYED` from its creation; signals that were ignored at startup remain ignored."""

    def __init__(self) -> None:
        self._numbers = [number for number in RELAYED if signal.getsignal(number) is not signal.SIG_IGN]
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)

    def follow(self, heard: Callable[[int, bool], None]) -> None:
        """Call `heard` in the running loop for each signal, with whether a process rather than the terminal sent it."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            with suppress(RuntimeError):  # the event loop is closed
                while True:
                    info = signal.sigwaitinfo(self._numbers)
                    loop.call_soon_threadsafe(heard, info.si_signo, info.si_code <= 0)

        if self._numbers:
            threading.Thread(target=wait, name="signals", daemon=True).start()


def die_by(number: int) -> None:
    """End this process by the signal that ended the command: only then does a shell's loop end on Ctrl-C."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    signal.raise_signal(number)
