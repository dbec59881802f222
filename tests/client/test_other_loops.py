"""A client outside of the event loop that opened it: each way has its own true sentence, and no ticket is left behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import contextmanager
from typing import Any

import pytest

from lockstore.client import LockClient
from lockstore.errors import LockError
from tests.client.fake_broker import FakeBroker

ANOTHER = "this client belongs to another event loop: make one client for each event loop"
CLOSED_LOOP = "the event loop that this client belongs to was closed: make one client for each event loop"
FORKED = "this client was opened by another process, before a fork: make one client in each process"
NO_LOOP = "no asyncio event loop runs here"


async def take(locks: LockClient) -> None:
    async with locks.lock("talk", wait=5):
        pass


async def follow(locks: LockClient) -> None:
    async for _ in locks.events():
        return


async def close(locks: LockClient) -> None:
    await locks.close()


async def open_again(locks: LockClient) -> None:
    await locks.open()


Use = Callable[[LockClient], Coroutine[Any, Any, None]]
uses = pytest.mark.parametrize("use", [take, follow, close, open_again])


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    made = FakeBroker()
    monkeypatch.setattr("lockstore.client.reconnect.open_connection", made.open)
    return made


@contextmanager
def refused(sentence: str) -> Any:
    with pytest.raises(LockError) as caught:
        yield
    assert str(caught.value).startswith(sentence)


async def elsewhere(use: Use, locks: LockClient) -> None:
    await asyncio.to_thread(lambda: asyncio.run(use(locks)))


@uses
async def test_another_loop_is_refused_and_this_one_goes_on(use: Use, broker: FakeBroker) -> None:
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(20):
        with refused(ANOTHER):
            await elsewhere(use, locks)
        assert broker.over == {}
        await take(locks)


@uses
def test_a_loop_that_was_closed_is_said_so(use: Use, broker: FakeBroker) -> None:
    locks = LockClient("amqp://localhost/")
    asyncio.run(locks.open())
    with refused(CLOSED_LOOP):
        asyncio.run(use(locks))
    assert broker.over == {}


async def test_a_stream_of_events_is_read_in_its_own_loop() -> None:
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(20):
        events: AsyncIterator[Any] = locks.events()

        async def read(_: LockClient) -> None:
            await anext(events)

        with refused(ANOTHER):
            await elsewhere(read, locks)


async def test_a_thread_without_a_loop_is_refused() -> None:
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(20):
        with refused(NO_LOOP):
            await asyncio.to_thread(locks.events)
        with refused(NO_LOOP):
            await asyncio.to_thread(lambda: take(locks).send(None))


def test_a_client_that_was_forked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with LockClient("amqp://localhost/") as locks, asyncio.timeout(20):
            process = os.getpid()
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: process + 1)
                for use in (take, follow, close, open_again):
                    with refused(FORKED):
                        await use(locks)
            await take(locks)

    asyncio.run(run())


async def test_before_and_after_it_is_open_and_twice_are_told_apart() -> None:
    locks = LockClient("amqp://localhost/")
    for use in (take, follow):
        with refused("the client is not open: use it in"):
            await use(locks)
    async with asyncio.timeout(20):
        async with locks:
            with pytest.raises(RuntimeError, match="the client is already open"):
                async with locks:
                    pytest.fail("it must not be opened twice")
            await take(locks)
        for use in (take, follow):
            with refused("the client is closed"):
                await use(locks)
        await locks.close()
        async with locks:
            await take(locks)
