"""The locks of this project, opened as a bot would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.contest import LEASE_S, AsyncHold, Places
from lockstore.client import LockClient
from lockstore.core.rules import Limits
from lockstore.factory import create_store

_WAIT_S = 600


@asynccontextmanager
async def daemon(places: Places) -> AsyncIterator[AsyncHold]:
    """Ask a daemon, through RabbitMQ."""
    async with LockClient(places["rabbitmq"]) as locks:

        @asynccontextmanager
        async def hold(key: str) -> AsyncIterator[int | None]:
            async with locks.lock(key, wait=_WAIT_S, lifetime=LEASE_S) as ticket:
                yield ticket.number

        yield hold


@asynccontextmanager
async def store(kind: str, places: Places) -> AsyncIterator[AsyncHold]:
    """Use a lock store in this process."""
    section = {"type": kind} if kind == "in_memory" else {"type": kind, **places["redis"]}
    opened = create_store(section, Limits())
    await opened.open()

    @asynccontextmanager
    async def hold(key: str) -> AsyncIterator[int | None]:
        async with opened.lock(key, lock_lifetime=LEASE_S) as line:
            yield line.now_serving

    try:
        yield hold
    finally:
        await opened.close()
