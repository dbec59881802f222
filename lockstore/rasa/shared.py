"""One client, or one direct store, for each event loop and address, however many lock stores Rasa creates.

Rasa creates a second lock store on `PUT /model`: messages then still use the first one, reminders the second. Both share what
is open, and the first of their calls opens it, because a constructor cannot await.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from lockstore.rasa.log import logger
from lockstore.rasa.shutdown import close_with_sanic

__all__ = ["Shared", "close_all", "in_use"]

DRAIN_LIMIT_S = 10.0  # how long calls may go on after Sanic has ended its connections


class Openable(Protocol):
    """What is shared."""

    async def open(self) -> None:
        """Open it."""

    async def close(self) -> None:
        """Close it."""


T = TypeVar("T", bound=Openable)

_Key = tuple[int, Hashable]  # the process: after a fork, nothing of the parent's is used
_OPEN: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, Shared[Any]]]" = WeakKeyDictionary()


@asynccontextmanager
async def in_use(key: Hashable, create: Callable[[], T]) -> AsyncIterator[T]:
    """Yield this loop's client or store with this key, opened, and keep it open during the body."""
    shared = _shared(key, create)
    shared.begin()
    try:
        yield await shared.opened()
    finally:
        shared.end()


async def close_all() -> None:
    """Close what the running event loop shares, once it is no longer used. What is used later is opened again."""
    of_loop = _OPEN.get(asyncio.get_running_loop(), {})
    for shared in list(of_loop.values()):
        await shared.drain_and_close()


def _shared(key: Hashable, create: Callable[[], T]) -> "Shared[T]":
    of_loop = _OPEN.setdefault(asyncio.get_running_loop(), {})
    own = (os.getpid(), key)
    if own not in of_loop or of_loop[own].is_ending:
        of_loop[own] = Shared(create)
    return cast("Shared[T]", of_loop[own])


class Shared(Generic[T]):
    """A client or store with its users. Belongs to one event loop."""

    def __init__(self, create: Callable[[], T]) -> None:
        self._create = create
        self.is_ending = False  # from then on a further user opens another one
        self._users = 0
        self._idle = asyncio.Event()
        self._is_late = False
        self._opening: asyncio.Future[T] | None = None

    def begin(self) -> None:
        """Count one more user."""
        self._users += 1
        self._idle.clear()

    def end(self) -> None:
        """Count one user less."""
        self._users -= 1
        if not self._users:
            self._idle.set()

    async def opened(self) -> T:
        """Return it, opened. If opening fails, the next caller tries again."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except Exception:
            if self._opening is opening:
                self._opening = None
            raise

    async def drain_and_close(self) -> None:
        """Wait until nobody uses it, or until `hurry`, and close it."""
        if self._users:
            logger.info("waiting for %d locks that are held or waited for", self._users)
        while self._users and not self._is_late:  # one may begin in the moment in which the last one ends
            await self._idle.wait()
        if self._opening is None or self.is_ending:
            return
        self.is_ending = True
        with suppress(Exception):  # it was never open
            await (await asyncio.shield(self._opening)).close()
        logger.info("closed the connections of the lock store")

    def hurry(self) -> None:
        """Close it after a time limit, even if it is still in use."""
        asyncio.get_running_loop().call_later(DRAIN_LIMIT_S, self._give_up)

    def _give_up(self) -> None:
        self._is_late = True
        self._idle.set()

    async def _open(self) -> T:
        resource = self._create()
        try:
            await resource.open()
        except BaseException:
            with suppress(Exception):
                await resource.close()
            raise
        close_with_sanic(self)
        return resource
