"""Words for the service manager: systemd's notification protocol, on the socket that NOTIFY_SOCKET names.

One datagram holds some lines `NAME=value`. Nobody answers, and nothing here depends on being heard: without a socket all
of it is silence, and a socket that takes nothing is complained of once.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog

__all__ = ["Notifier"]

_TEXT_MOST = 300  # characters of a status; systemd shows one line of it

_log = structlog.get_logger()


class Notifier:
    """Speaks to the service manager that started this process, or to nobody."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        """Take the socket: a path, or an abstract name with `@` before it. `watchdog_s`: how often it wants a sign of life."""
        self.watchdog_s = watchdog_s
        self._address = address
        self._socket: socket.socket | None = None
        self._has_complained = False
        if address is not None:
            # A manager that is slow to read must not hold up the daemon.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Notifier":
        """Make the one that the environment asks for, as a service manager sets it."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and not address.startswith(("/", "@")):
            _log.warning("notify.failed", error="NOTIFY_SOCKET is neither a path nor an abstract name")
            address = None
        return cls(address, _watchdog_s(environ) if address else None)

    def say(self, *lines: str) -> None:
        """Send some lines in one datagram."""
        if self._socket is None or self._address is None:
            return
        place = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto("\n".join(lines).encode(), place)
        except OSError as error:
            if not self._has_complained:
                _log.warning("notify.failed", error=str(error))
            self._has_complained = True
        else:
            self._has_complained = False

    def status(self, text: str) -> None:
        """Say in one line, for people, how it goes."""
        self.say(f"STATUS={' '.join(text.split())[:_TEXT_MOST]}")

    def ready(self) -> None:
        """Say that the start is over: it serves."""
        self.say("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is read again, from this moment on; `ready` ends it."""
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Give the watchdog its sign of life."""
        self.say("WATCHDOG=1")

    def patience(self, seconds: float) -> None:
        """Ask for so much more time, from now on, for what goes on: the start, or the stop."""
        self.say(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def stopping(self, seconds: float) -> None:
        """Say that it stops, and how long that may take."""
        self.say("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Give how often the manager wants a sign of life; None: never, or from another process than this."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(ValueError):
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        return microseconds / 1e6 if microseconds > 0 else None
    return None
