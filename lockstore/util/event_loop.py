"""Which event loop a store is used from: connections and waiting callers belong to one."""

import asyncio

from lockstore.errors import EventLoopError

__all__ = ["OneEventLoop"]

_REFUSAL = (
    "this lock store is in use in another event loop: close it there before it is used in this one (await store.close()), "
    "or create one store for each event loop"
)


class OneEventLoop:
    """The event loop of the first use, which is the only one until the store is closed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise EventLoopError where this is another one."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise EventLoopError(_REFUSAL)

    def release(self) -> None:
        """Let the next use decide anew."""
        self._loop = None
