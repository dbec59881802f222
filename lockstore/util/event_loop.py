"""Binding a store to one event loop, to which its connections and waiting callers belong."""

import asyncio

from lockstore.errors import EventLoopError

__all__ = ["OneEventLoop"]

_REFUSAL = (
    "this lock store is in use in another event loop: close it there before it is used in this one (await store.close()), "
    "or create one store for each event loop"
)


class OneEventLoop:
    """The event loop of the first use, which remains the only one until the store is closed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise EventLoopError if this is another event loop."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise EventLoopError(_REFUSAL)

    def release(self) -> None:
        """Allow the next use in any event loop."""
        self._loop = None
