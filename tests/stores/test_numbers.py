"""Fencing: numbers of a conversation only rise and are never given twice. The witness of every store test checks it too."""

import asyncio

import pytest

from lockstore.core.commands import Finish, Release, Request
from lockstore.core.ticket import TicketLock
from lockstore.stores.base import LockStore
from tests.stores.clock import Clock
from tests.stores.conftest import OpenStore
from tests.stores.custom_stores import SERVERS
from tests.stores.kinds import (
    ALL_KINDS,
    all_lasting_kinds,
    all_only_concurrent,
    all_own_kinds,
    all_redis_kinds,
    all_whole_kinds,
    dict_kinds,
)
from tests.stores.table import done, first_number, line_of


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_new_line_begins_with_the_stores_first_number(store: LockStore) -> None:
    assert await store.issue_ticket("c") == first_number(store)


async def test_numbers_go_on_after_a_ticket_ran_out(clock: Clock, open_store: OpenStore) -> None:
    store = await open_store()
    first = await store.issue_ticket("c", 0.5)
    clock.advance(500)
    assert await store.issue_ticket("c") == first + 1


async def test_numbers_go_on_after_cleanup_of_the_last_ticket(store: LockStore) -> None:
    numbers = []
    for _ in range(3):
        numbers.append(await store.issue_ticket("c"))
        await store.cleanup("c", numbers[-1])
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


async def test_numbers_go_on_after_the_daemons_tickets(store: LockStore) -> None:
    await store.apply([Request("c", "a", 1000, 0), Release("c", request_id="a")])
    assert await store.issue_ticket("c") == first_number(store) + 1


async def test_numbers_go_on_when_everything_was_forgotten(clock: Clock, open_store: OpenStore) -> None:
    store = await open_store()
    await store.apply([Request("c", "a", 1000, 0), Release("c", request_id="a")])
    clock.advance(store.limits.dedup_window_ms)
    await store.apply([Release("d", 5)])
    await store.apply([Release("c", 5)])
    assert await store.issue_ticket("c") == first_number(store) + 1


@pytest.mark.parametrize("touch", ["create_lock", "get_or_create_lock"])
async def test_numbers_go_on_after_a_lock_was_created(store: LockStore, touch: str) -> None:
    number = await store.issue_ticket("c")
    await store.cleanup("c", number)
    await getattr(store, touch)("c")
    assert await store.issue_ticket("c") == number + 1


@all_own_kinds
async def test_numbers_go_on_after_delete(store: LockStore) -> None:
    number = await store.issue_ticket("c")
    await done(store.delete_lock("c"))
    assert await line_of(store, "c") is None
    assert await store.issue_ticket("c") == number + 1


@all_lasting_kinds
async def test_numbers_go_on_in_a_store_opened_again(open_store: OpenStore) -> None:
    store = await open_store()
    number = await store.issue_ticket("c")
    await store.cleanup("c", number)
    await store.close()
    assert await (await open_store()).issue_ticket("c") == number + 1


@all_whole_kinds
class TestALockInTheHandsOfItsUser:
    async def test_is_stored_and_continued_as_with_rasa(self, store: LockStore) -> None:
        lock = await store.get_or_create_lock("c")
        assert not lock.is_someone_waiting()
        number = lock.issue_ticket(60)
        assert not lock.is_locked(number)
        await done(store.save_lock(lock))
        stored = await line_of(store, "c")
        assert stored is not None
        assert (stored.now_serving, stored.last_issued) == (number, number)
        assert await store.issue_ticket("c") == number + 1

    async def test_knows_the_numbers_of_an_emptied_line(self, store: LockStore) -> None:
        number = await store.issue_ticket("c")
        await store.cleanup("c", number)
        lock = await store.get_or_create_lock("c")
        assert lock.issue_ticket(60) == number + 1


@all_only_concurrent
class TestTheConcurrentStore:
    async def test_gives_locks_for_reading(self, store: LockStore) -> None:
        lock = await store.get_or_create_lock("c")
        assert lock == TicketLock("c")
        number = await store.issue_ticket("c")
        lock = await store.get_or_create_lock("c")
        assert (lock.now_serving, lock.last_issued) == (number, number)

    async def test_deletes_direct_tickets_alone(self, store: LockStore) -> None:
        await store.apply([Request("c", "a", 1000, 1000)])
        await store.issue_ticket("c")
        await done(store.delete_lock("c"))
        lock = await line_of(store, "c")
        assert lock is not None
        assert [ticket.claim is not None for ticket in lock.tickets] == [True]


async def test_many_at_once_get_numbers_without_gap_or_double(store: LockStore) -> None:
    numbers = await asyncio.gather(*(store.issue_ticket("c") for _ in range(50)))
    first = first_number(store)
    assert sorted(numbers) == list(range(first, first + 50))


@all_redis_kinds
async def test_many_stores_at_once_get_numbers_without_gap_or_double(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(4)]
    numbers = await asyncio.gather(*(stores[place % 4].issue_ticket("c") for place in range(40)))
    first = first_number(stores[0])
    assert sorted(numbers) == list(range(first, first + 40))


async def test_finishing_a_ticket_that_is_not_there_changes_nothing(store: LockStore) -> None:
    number = await store.issue_ticket("c")
    await store.act(Finish("c", number + 5))
    await store.finish_serving("elsewhere", 3)
    assert await store.is_someone_waiting("c")
    assert not await store.is_someone_waiting("elsewhere")


@dict_kinds
async def test_a_custom_store_keeps_the_number_in_the_users_own_text(store: LockStore, key_prefix: str) -> None:
    number = await store.issue_ticket("c")
    await store.cleanup("c", number)
    assert SERVERS[f"dict://{key_prefix}"]["c"] == TicketLock("c", None, number).dumps()
