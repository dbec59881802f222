"""The event loop and the process that an open client belongs to."""

import asyncio
import os

from lockstore.errors import LockError

__all__ = ["LoopAffinity"]


class LoopAffinity:
    """Records where a client was opened, and rejects its use elsewhere."""

    def __init__(self) -> None:
        self._loop = _running_loop()
        self._process = os.getpid()

    def check(self) -> None:
        """Raise LockError except in the same process and event loop."""
        if os.getpid() != self._process:
            raise LockError("this client was opened by another process, before a fork: make one client in each process")
        if self._loop.is_closed():
            raise LockError(
                "the event loop that this client belongs to was closed: make one client for each event loop"
            )
        if _running_loop() is not self._loop:
            raise LockError("this client belongs to another event loop: make one client for each event loop")


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise LockError(
            "no asyncio event loop runs here: use the client in a coroutine of the loop that opened it"
        ) from None
