"""The locks that `benchmarks.direct` compares, each as a context that is held, and what came of holding them.

Ours are opened as a bot would, by `create_store`. The peers have their defaults, but for what is said here. All leases
last equally long, so that none ends within a run.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from itertools import cycle
from typing import NamedTuple, cast

import redis
import redis.asyncio
import redis_lock  # type: ignore[import-untyped]

from lockstore.factory import create_store
from lockstore.rules import Limits
from lockstore.store import LockStore

__all__ = [
    "OURS",
    "PEERS",
    "PING",
    "PROCESSES",
    "REFERENCE",
    "THREADED",
    "THREAD_PING",
    "WAITERS",
    "AsyncLocks",
    "Part",
    "Stay",
    "ThreadLocks",
    "now",
]

PROCESSES = 4
WAITERS = 20  # in all processes together

PING = "PING"  # no lock: one round trip, the unit of all latencies
THREAD_PING = "PING in a thread"
OURS = ("concurrent_redis", "redis", "in_memory")
REFERENCE = "redis-py"
PEERS = (REFERENCE, "redis-py, 10 ms", "python-redis-lock")
THREADED = ("python-redis-lock", THREAD_PING)

_LEASE_S = 60
_SLEEP_S = {REFERENCE: 0.1, "redis-py, 10 ms": 0.01}  # between two questions; the first is the default

AsyncHold = Callable[[str], AbstractAsyncContextManager[int | None]]
ThreadHold = Callable[[str], AbstractContextManager[object]]

now = time.monotonic  # CLOCK_MONOTONIC: all processes of one machine read the same clock


class Part(NamedTuple):
    """What one waiter does: it asks, holds, gives back and asks again, until a moment; at least once."""

    waiter: int
    keys: Sequence[str]  # one after the other, over and over
    ask_at: float
    hold_s: float
    until: float


class Stay(NamedTuple):
    """One holding, in seconds of the machine's monotonic clock; `left` is taken just before the release begins."""

    waiter: int
    asked: float
    entered: float
    left: float
    number: int | None  # the ticket's, where the lock has tickets


class AsyncLocks:
    """The locks for asyncio, opened when first asked for. Not to be used from two loops."""

    def __init__(self, host: str, port: int) -> None:
        self._place = {"host": host, "port": port}
        self._client = redis.asyncio.Redis(host=host, port=port)
        self._stores: dict[str, LockStore] = {}

    async def play(self, name: str, parts: Sequence[Part]) -> list[Stay]:
        """Play these parts, each as a task."""
        hold = await self._opened(name)
        stays: list[Stay] = []

        async def take(part: Part) -> None:
            await asyncio.sleep(part.ask_at - now())
            for key in cycle(part.keys):
                asked = now()
                async with hold(key) as number:
                    entered = now()
                    if part.hold_s:
                        await asyncio.sleep(part.hold_s)
                    left = now()
                stays.append(Stay(part.waiter, asked, entered, left, number))
                if now() >= part.until:
                    return

        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(take(part))
        return stays

    async def close(self) -> None:
        """Let go of connections."""
        for store in self._stores.values():
            await store.close()
        await self._client.aclose()

    async def _opened(self, name: str) -> AsyncHold:
        if name == PING:
            return self._ping
        if name in _SLEEP_S:
            return self._redis_py(_SLEEP_S[name])
        if name not in self._stores:
            section = {"type": name} if name == "in_memory" else {"type": name, **self._place}
            store = create_store(section, Limits())
            await store.open()
            self._stores[name] = store
        return self._ours(self._stores[name])

    @asynccontextmanager
    async def _ping(self, _: str) -> AsyncIterator[None]:
        await self._client.ping()
        yield

    def _redis_py(self, sleep_s: float) -> AsyncHold:
        @asynccontextmanager
        async def hold(key: str) -> AsyncIterator[None]:
            async with self._client.lock(key, timeout=_LEASE_S, sleep=sleep_s):
                yield

        return hold

    @staticmethod
    def _ours(store: LockStore) -> AsyncHold:
        @asynccontextmanager
        async def hold(key: str) -> AsyncIterator[int | None]:
            async with store.lock(key, lock_lifetime=_LEASE_S) as line:
                yield line.now_serving

        return hold


class ThreadLocks:
    """The lock for threads: python-redis-lock, which waits in a blocking command."""

    def __init__(self, host: str, port: int) -> None:
        self._client = redis.Redis(host=host, port=port)

    def play(self, name: str, parts: Sequence[Part]) -> list[Stay]:
        """Play these parts, each in a thread."""
        hold = self._ping if name == THREAD_PING else self._hold
        with ThreadPoolExecutor(len(parts)) as pool:
            return [stay for stays in pool.map(partial(_take, hold), parts) for stay in stays]

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _hold(self, key: str) -> AbstractContextManager[object]:
        return cast("AbstractContextManager[object]", redis_lock.Lock(self._client, key, expire=_LEASE_S))

    @contextmanager
    def _ping(self, _: str) -> Iterator[None]:
        self._client.ping()
        yield


def _take(hold: ThreadHold, part: Part) -> list[Stay]:
    stays: list[Stay] = []
    time.sleep(max(0.0, part.ask_at - now()))
    for key in cycle(part.keys):
        asked = now()
        with hold(key):
            entered = now()
            if part.hold_s:
                time.sleep(part.hold_s)
            left = now()
        stays.append(Stay(part.waiter, asked, entered, left, None))
        if now() >= part.until:
            break
    return stays
