"""The limit of a stop: a daemon that was told to end does so by itself, whatever it waits for."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import structlog

from daemon.cli.exit_codes import OVERDUE

__all__ = ["BEYOND_S", "StopLimit"]

BEYOND_S = 1.5
"""Seconds beyond `stop_timeout`, for farewells to broker, store and HTTP clients; then the process ends."""

_log = structlog.get_logger()


class StopLimit:
    """Handles SIGTERM and SIGINT. A thread counts, so that the limit holds while the event loop is blocked, too."""

    def __init__(self, limit_s: Callable[[], float], left: Callable[[], str], stop: Callable[[], None]) -> None:
        """Take how long a stop may take in seconds, what says what is left by then, and what begins it: any thread may call it."""
        self._limit_s = limit_s
        self._left = left
        self._stop = stop
        self._begun = threading.Event()

    def install(self) -> None:
        """Handle the signals from now on. Call in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._begun.is_set():
            return  # a second signal changes nothing: the end is near
        self._begun.set()
        timer = threading.Timer(self._limit_s(), self._give_up)
        timer.daemon = True
        timer.start()
        self._stop()
        _log.info("daemon.stopping", signal=signal.Signals(number).name)

    def _give_up(self) -> None:
        try:
            _log.error("daemon.stop_overdue", left=self._left())
        finally:
            os._exit(OVERDUE)  # nothing of what is left could be waited for; a killed daemon does no harm either
