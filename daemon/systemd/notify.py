"""systemd's notification protocol, on the socket named in NOTIFY_SOCKET.

A datagram contains lines of `NAME=value`. There is no reply, and nothing depends on delivery: without a socket nothing is
sent, and a failure is logged once.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog

__all__ = ["Notifier"]

_TEXT_MOST = 300  # characters of a status, of which systemd shows one line

_log = structlog.get_logger()


class Notifier:
    """Sends notifications to the service manager, if any."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        """`address` is a path, or an abstract name starting with `@`. `watchdog_s`: the interval of the watchdog."""
        self.watchdog_s = watchdog_s
        self._address = address
        self._socket: socket.socket | None = None
        self._has_complained = False
        if address is not None:
            # A slow service manager must not block the daemon.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Notifier":
        """Create the notifier from the environment that a service manager sets."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and not address.startswith(("/", "@")):
            _log.warning("notify.failed", error="NOTIFY_SOCKET is neither a path nor an abstract name")
            address = None
        return cls(address, _watchdog_s(environ) if address else None)

    def send(self, *lines: str) -> None:
        """Send lines in one datagram."""
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
        """Set the status line."""
        self.send(f"STATUS={' '.join(text.split())[:_TEXT_MOST]}")

    def ready(self) -> None:
        """Report that startup or reload is complete."""
        self.send("READY=1")

    def reloading(self) -> None:
        """Report that the configuration is being reloaded, until `ready`."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self.send("WATCHDOG=1")

    def patience(self, seconds: float) -> None:
        """Extend the timeout of the current startup or shutdown by this much from now."""
        self.send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def stopping(self, seconds: float) -> None:
        """Report the shutdown, and how long it may take."""
        self.send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return the watchdog's interval; None if it is off, or meant for another process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(ValueError):
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        return microseconds / 1e6 if microseconds > 0 else None
    return None
