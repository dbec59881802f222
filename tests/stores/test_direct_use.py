"""A bot's own process takes a lock: `async with store.lock(conversation_id)`, with Rasa's names and meaning."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from lockstore.core.commands import Release, Request
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError, LockError
from lockstore.stores.base import LockStore
from tests.stores.conftest import OpenStore
from tests.stores.kinds import lasting_kinds, redis_kinds, whole_kinds
from tests.stores.table import first_number, line_of

LONG_POLL_S = 60.0
"""A poll so long that whoever enters before its half was woken, or knew the deadline."""


class Room:
    """What a lock guards: it notices when two are inside, and knows in which order they came."""

    def __init__(self) -> None:
        self.inside = 0
        self.visitors: list[int] = []

    @asynccontextmanager
    async def entered(self, number: int) -> AsyncIterator[None]:
        self.inside += 1
        assert self.inside == 1, f"{number} met {self.visitors[-1]}"
        self.visitors.append(number)
        await asyncio.sleep(0)
        yield
        self.inside -= 1


def own_number(lock: TicketLock) -> int:
    return lock.tickets[0].number


async def test_the_holder_stands_first(store: LockStore) -> None:
    async with store.lock("c") as lock:
        assert own_number(lock) == first_number(store)
        assert await store.is_someone_waiting("c")
    assert not await store.is_someone_waiting("c")


async def test_many_tasks_enter_one_by_one_and_in_order(store: LockStore) -> None:
    room = Room()

    async def visit() -> None:
        async with store.lock("c", wait_time_in_seconds=0.05) as lock, room.entered(own_number(lock)):
            pass

    await asyncio.gather(*(visit() for _ in range(30)))
    first = first_number(store)
    assert room.visitors == list(range(first, first + 30))


@lasting_kinds
async def test_tasks_on_several_stores_enter_one_by_one_and_in_order(open_store: OpenStore) -> None:
    # Custom stores are safe within one process and store, as the documents say; several share data in one thread here.
    stores = [await open_store()]
    if "Redis" in type(stores[0]).__name__:
        stores += [await open_store(), await open_store()]
    room = Room()

    async def visit(store: LockStore) -> None:
        async with store.lock("c", wait_time_in_seconds=0.2) as lock, room.entered(own_number(lock)):
            pass

    await asyncio.gather(*(visit(stores[place % len(stores)]) for place in range(30)))
    assert room.visitors == sorted(room.visitors)
    assert len(room.visitors) == 30


@redis_kinds
async def test_whoever_waits_is_woken_by_a_hint_from_another_store(open_store: OpenStore) -> None:
    holder, waiting = await open_store(), await open_store()
    names = [
        f"conversation {place}" for place in range(8)
    ]  # in a cluster several nodes have them, and one is listened to

    async def visit(name: str) -> None:
        async with waiting.lock(name, 3600, wait_time_in_seconds=LONG_POLL_S):
            pass

    async with AsyncExitStack() as held:
        for name in names:
            await held.enter_async_context(holder.lock(name, 3600))
        visitors = [asyncio.create_task(visit(name)) for name in names]
        for name in names:
            while len((await holder.get_or_create_lock(name)).tickets) < 2:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(LONG_POLL_S / 2):
        await asyncio.gather(*visitors)


async def test_conversations_do_not_wait_for_each_other(store: LockStore) -> None:
    async with store.lock("c"), store.lock("d"), store.lock("c2"):
        assert await store.is_someone_waiting("c")


async def test_hundreds_of_conversations_are_held_at_once(store: LockStore) -> None:
    async def visit(place: int) -> None:
        async with store.lock(f"conversation {place}"):
            pass

    await asyncio.gather(*(visit(place) for place in range(300)))


async def test_a_ticket_that_runs_out_while_waiting_is_told(store: LockStore) -> None:
    # The one before it holds for long, so only its own deadline can end the waiting.
    async with store.lock("c", 3600):
        started = time.monotonic()
        with pytest.raises(LockError, match="ended before its turn"):
            async with store.lock("c", 0.1, wait_time_in_seconds=LONG_POLL_S):
                pytest.fail("two inside")
        assert time.monotonic() - started < LONG_POLL_S / 2
    assert not await store.is_someone_waiting("c")


async def test_the_one_behind_a_ticket_that_ran_out_has_its_turn(store: LockStore) -> None:
    async with store.lock("c", 0.1):
        started = time.monotonic()
        async with store.lock("c", 3600, wait_time_in_seconds=LONG_POLL_S) as lock:
            assert own_number(lock) == first_number(store) + 1
        assert time.monotonic() - started < LONG_POLL_S / 2


async def test_a_late_cleanup_touches_nobody_else(store: LockStore) -> None:
    async with store.lock("c", 0.05):
        successor = asyncio.create_task(_hold_until_cancelled(store))
        while await _head(store) != first_number(store) + 1:
            await asyncio.sleep(0.01)
    assert await _head(store) == first_number(store) + 1
    successor.cancel()
    with pytest.raises(asyncio.CancelledError):
        await successor
    assert not await store.is_someone_waiting("c")


async def _hold_until_cancelled(store: LockStore) -> None:
    async with store.lock("c", 3600, wait_time_in_seconds=0.05):
        await asyncio.Event().wait()


async def _head(store: LockStore) -> int | None:
    lock: TicketLock | None = await line_of(store, "c")
    return lock.tickets[0].number if lock and lock.tickets else None


async def test_whoever_gives_up_waiting_leaves_the_line(store: LockStore) -> None:
    async with store.lock("c", 3600):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), store.lock("c", 3600):
                pytest.fail("two inside")
    assert not await store.is_someone_waiting("c")


async def test_the_bodys_own_exception_comes_through(store: LockStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.lock("c"):
            raise ZeroDivisionError
    assert not await store.is_someone_waiting("c")


async def test_the_bodys_own_exception_is_not_masked_by_a_failing_store(
    store: LockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise ConversationError("the store is broken")

    with pytest.raises(ZeroDivisionError) as caught:
        async with store.lock("c"):
            monkeypatch.setattr(store, "finish_serving", fails)
            raise ZeroDivisionError
    assert "could not be returned: the store is broken" in caught.value.__notes__[0]


async def test_a_direct_ticket_waits_for_the_daemons_and_is_woken(store: LockStore) -> None:
    await store.apply([Request("c", "a", 3_600_000, 0)])
    entered = asyncio.Event()

    async def visit() -> None:
        async with store.lock("c", 3600, wait_time_in_seconds=0.05):
            entered.set()

    visitor = asyncio.create_task(visit())
    while (lock := await line_of(store, "c")) is None or len(lock.tickets) < 2:
        await asyncio.sleep(0.01)
    assert not entered.is_set()
    await store.apply([Release("c", request_id="a")])
    await visitor
    assert entered.is_set()


async def test_someone_is_waiting_while_any_ticket_is_left(store: LockStore) -> None:
    numbers = [await store.issue_ticket("c") for _ in range(2)]
    await store.finish_serving("c", numbers[0])
    assert await store.is_someone_waiting("c")
    await store.cleanup("c", numbers[1])
    assert not await store.is_someone_waiting("c")


async def test_get_or_create_gives_what_is_stored(store: LockStore) -> None:
    assert not (await store.get_or_create_lock("c")).tickets
    number = await store.issue_ticket("c")
    assert [ticket.number for ticket in (await store.get_or_create_lock("c")).tickets] == [number]


@whole_kinds
async def test_create_empties_the_line(store: LockStore) -> None:
    await store.issue_ticket("c")
    assert not (await store.create_lock("c")).tickets
    assert not await store.is_someone_waiting("c")
