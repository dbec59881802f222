"""Limits the duration of a shutdown: a stopping daemon ends in time, whatever it waits for."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import structlog

from daemon.cli.exit_codes import OVERDUE
from daemon.monitoring import log_setup as logs

__all__ = ["BEYOND_S", "StopLimit"]

BEYOND_S = 1.5
"""Seconds in addition to `stop_timeout`, for closing connections to broker, store and HTTP clients; then the process exits."""

_log = structlog.get_logger()


class StopLimit:
    """Handles SIGTERM and SIGINT. A thread measures the time, so that the limit holds while the event loop is blocked."""

    def __init__(self, limit_s: Callable[[], float], left: Callable[[], str], stop: Callable[[], None]) -> None:
        """`limit_s` limits the shutdown, `left` describes unfinished work, `stop` starts the shutdown from any thread."""
        self._limit_s = limit_s
        self._left = left
        self._stop = stop
        self._begun = threading.Event()

    def install(self) -> None:
        """Install the signal handlers. Call in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._begun.is_set():
            return  # a second signal changes nothing: the shutdown is limited
        self._begun.set()
        timer = threading.Timer(self._limit_s(), self._give_up)
        timer.daemon = True
        timer.start()
        self._stop()
        _log.info("daemon.stopping", signal=signal.Signals(number).name)

    def _give_up(self) -> None:
        try:
            _log.error("daemon.stop_overdue", left=self._left())
            logs.drain()
        finally:
            os._exit(OVERDUE)  # nothing left could be waited for; a killed daemon does no harm either
