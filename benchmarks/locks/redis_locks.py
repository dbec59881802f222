"""Locks of others on Redis, and no lock at all: one round trip, the unit of all latencies."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import cast

import redis
import redis.asyncio
import redis_lock  # type: ignore[import-untyped]

from benchmarks.contest import LEASE_S, AsyncHold, Places, ThreadHold

_CONNECTIONS = 1000  # of one process: redis-py refuses more than 100 if it is not told, and a waiter may need one


@asynccontextmanager
async def ping(places: Places) -> AsyncIterator[AsyncHold]:
    """Send one PING, and lock nothing."""
    async with redis.asyncio.Redis(**places["redis"], max_connections=_CONNECTIONS) as client:

        @asynccontextmanager
        async def hold(_: str) -> AsyncIterator[None]:
            await client.ping()
            yield

        yield hold


@asynccontextmanager
async def redis_py(sleep_s: float, places: Places) -> AsyncIterator[AsyncHold]:
    """Use redis-py's Lock, which asks again every `sleep_s` seconds."""
    async with redis.asyncio.Redis(**places["redis"], max_connections=_CONNECTIONS) as client:

        @asynccontextmanager
        async def hold(key: str) -> AsyncIterator[None]:
            async with client.lock(key, timeout=LEASE_S, sleep=sleep_s):
                yield

        yield hold


@asynccontextmanager
async def poll(interval_s: float, places: Places) -> AsyncIterator[AsyncHold]:
    """Stand in a line and look every `interval_s` seconds who is its first, as Rasa does.

    The line is a list that each change leaves whole. Rasa's own is one value that is read and written back, and two bots
    that do so at once lose tickets; here it is to be measured, not to be stuck.
    """
    async with redis.asyncio.Redis(**places["redis"], max_connections=_CONNECTIONS, decode_responses=True) as client:

        @asynccontextmanager
        async def hold(key: str) -> AsyncIterator[None]:
            ticket = uuid.uuid4().hex
            await client.rpush(key, ticket)
            while await client.lindex(key, 0) != ticket:  # noqa: ASYNC110 - polling is what it is about
                await asyncio.sleep(interval_s)
            yield
            await client.lrem(key, 1, ticket)

        yield hold


@contextmanager
def thread_ping(places: Places) -> Iterator[ThreadHold]:
    """Send one PING from a thread, and lock nothing."""
    with redis.Redis(**places["redis"]) as client:

        @contextmanager
        def hold(_: str) -> Iterator[None]:
            client.ping()
            yield

        yield hold


@contextmanager
def python_redis_lock(places: Places) -> Iterator[ThreadHold]:
    """Use python-redis-lock, which waits in BLPOP, and so needs a client that is patient."""
    with redis.Redis(**places["redis"], max_connections=_CONNECTIONS, socket_timeout=None) as client:

        def hold(key: str) -> AbstractContextManager[object]:
            return cast("AbstractContextManager[object]", redis_lock.Lock(client, key, expire=LEASE_S))

        yield hold
