"""Advisory locks of PostgreSQL sessions: the server lets a session wait, and wakes it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg

from benchmarks.contest import AsyncHold, Places

_LOCK = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"


@asynccontextmanager
async def advisory(places: Places) -> AsyncIterator[AsyncHold]:
    """Hold advisory locks; whoever waits has a connection of its own, because it waits inside of a statement."""
    spare: list[Any] = []
    async with AsyncExitStack() as connections:

        @asynccontextmanager
        async def hold(key: str) -> AsyncIterator[None]:
            if spare:
                connection = spare.pop()
            else:
                opening = await psycopg.AsyncConnection.connect(places["postgresql"], autocommit=True)
                connection = await connections.enter_async_context(opening)
            await connection.execute(_LOCK, (key,))
            yield
            await connection.execute(_UNLOCK, (key,))
            spare.append(connection)

        yield hold
