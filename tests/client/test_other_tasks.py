"""A lock that is entered in another task than its body runs in: it is refused, or said loudly, and never passed over."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from lockstore.client import HeldTicket, LockClient
from lockstore.errors import LockError, LockLostError
from lockstore.util.cancellation import cancelling
from tests.client.fake_broker import FakeBroker


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    made = FakeBroker()
    monkeypatch.setattr("lockstore.client.reconnect.open_connection", made.open)
    return made


@asynccontextmanager
async def wrapped(locks: LockClient) -> AsyncIterator[HeldTicket]:
    async with locks.lock("talk") as ticket:
        yield ticket


async def in_a_task(entering: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.create_task(entering)


ENTRIES: dict[str, Callable[[LockClient, AsyncExitStack], Coroutine[Any, Any, Any]]] = {
    "stack": lambda locks, stack: stack.enter_async_context(locks.lock("talk")),
    "wrapped": lambda locks, stack: stack.enter_async_context(wrapped(locks)),
    "aenter": lambda locks, _: locks.lock("talk").__aenter__(),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
async def test_a_task_that_ends_on_entry_is_refused_before_anything_is_asked(broker: FakeBroker, entry: Any) -> None:
    async with LockClient("amqp://localhost/") as locks, AsyncExitStack() as stack:
        with pytest.raises(LockError, match=r"asyncio.timeout\(...\)"):
            await in_a_task(entry(locks, stack))
    assert broker.line == []
    assert broker.over == {}


@pytest.mark.parametrize("entry", [ENTRIES["stack"], ENTRIES["wrapped"]])
async def test_a_stack_in_the_bodys_own_task_is_welcome(broker: FakeBroker, entry: Any) -> None:
    async with LockClient("amqp://localhost/") as locks:
        async with AsyncExitStack() as stack, asyncio.timeout(10):
            await entry(locks, stack)
            assert len(broker.line) == 1
        assert broker.line == []


async def test_wait_for_is_refused_or_stops_the_body(broker: FakeBroker) -> None:
    """Before Python 3.12 it enters in a task of its own; later ones enter in this task."""
    broker.lease_s, broker.is_silent = 0.3, True
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(10):
        with pytest.raises(LockError):
            async with AsyncExitStack() as stack:
                await asyncio.wait_for(stack.enter_async_context(locks.lock("talk", lifetime=0.3)), 5)
                await asyncio.sleep(20)


async def test_a_body_that_cannot_be_stopped_is_said_and_its_ticket_refuses_to_serve(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.lease_s, broker.is_silent = 0.3, True
    stack = AsyncExitStack()
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(10):

        async def set_up() -> HeldTicket:
            return await stack.enter_async_context(locks.lock("talk", lifetime=0.3))

        entering = asyncio.create_task(set_up())
        await asyncio.wait({entering})  # so nobody awaits it, and nobody uses the ticket
        ticket = entering.result()
        await asyncio.sleep(0)
        assert [getattr(record, "code", "") for record in caplog.records] == ["lock_client.body_unguarded"]
        while "lock_client.body_runs_without_lease" not in [getattr(each, "code", "") for each in caplog.records]:
            await asyncio.sleep(0.01)
        assert caplog.records[-1].levelno == logging.CRITICAL
        for use in (ticket.check, lambda: ticket.number):
            with pytest.raises(LockLostError, match="not renewed in time"):
                use()
        with pytest.raises(LockLostError):
            await stack.aclose()


async def test_a_lock_handed_to_another_task_is_renewed_and_given_back(broker: FakeBroker) -> None:
    broker.lease_s = 1.5
    stack = AsyncExitStack()
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(10):

        async def set_up() -> HeldTicket:
            return await stack.enter_async_context(locks.lock("talk", lifetime=1.5))

        ticket = await in_a_task(set_up())
        await asyncio.sleep(2)
        ticket.check()
        await stack.aclose()
        assert broker.line == []


async def test_a_cancellation_of_the_other_task_is_not_taken_for_the_loss(broker: FakeBroker) -> None:
    broker.lease_s, broker.is_silent = 1.0, True
    stack = AsyncExitStack()
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(10):

        async def set_up() -> HeldTicket:
            return await stack.enter_async_context(locks.lock("talk", lifetime=1))

        async def body(ticket: HeldTicket) -> None:
            async with stack:
                assert ticket.number
                task.cancel()
                await asyncio.sleep(60)

        task = asyncio.create_task(body(await in_a_task(set_up())))
        await asyncio.wait({task})
        assert task.cancelled()


async def by_awaiting(stack: AsyncExitStack, locks: LockClient) -> None:
    async def set_up() -> HeldTicket:
        return await stack.enter_async_context(locks.lock("talk", lifetime=0.3))

    await in_a_task(set_up())
    await asyncio.sleep(60)


async def by_wait_for(stack: AsyncExitStack, locks: LockClient) -> None:
    async def set_up() -> HeldTicket:
        return await stack.enter_async_context(locks.lock("talk", lifetime=0.3))

    await asyncio.wait_for(set_up(), 30)
    await asyncio.sleep(60)


async def by_using_the_ticket(stack: AsyncExitStack, locks: LockClient) -> None:
    async def set_up() -> HeldTicket:
        return await stack.enter_async_context(locks.lock("talk", lifetime=0.3))

    entering = asyncio.create_task(set_up())
    await asyncio.wait({entering})
    assert entering.result().number == 1
    await asyncio.sleep(60)


@pytest.mark.parametrize("body", [by_awaiting, by_wait_for, by_using_the_ticket])
@pytest.mark.parametrize("is_given_back", [True, False])
async def test_a_body_in_a_task_that_is_known_is_stopped(
    broker: FakeBroker, body: Callable[[AsyncExitStack, LockClient], Coroutine[Any, Any, None]], *, is_given_back: bool
) -> None:
    broker.lease_s, broker.is_silent = 0.3, True
    async with LockClient("amqp://localhost/") as locks, asyncio.timeout(30):
        stack = AsyncExitStack()

        async def run() -> None:
            if is_given_back:
                async with stack:
                    await body(stack, locks)
            else:
                await body(stack, locks)

        task = asyncio.create_task(run())
        await asyncio.wait({task})
        if is_given_back:
            assert isinstance(task.exception(), LockLostError)
            assert cancelling(task) == 0
        else:
            assert task.cancelled()
            with pytest.raises(LockLostError):
                await stack.aclose()
