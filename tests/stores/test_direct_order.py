"""Direct tickets of one process are numbered in the order of the calls; what a lost reply leaves is taken out of the line."""

import asyncio
from collections.abc import Sequence

import pytest

from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.stores.base import LockStore
from lockstore.stores.results import NewTicket, Turn
from tests.stores.conftest import OpenStore
from tests.stores.kinds import lasting_kinds
from tests.stores.table import first_number

Entered = Sequence[tuple[int, Turn] | ConversationError]


async def test_a_new_process_numbers_its_calls_in_their_order(open_store: OpenStore) -> None:
    store = await open_store()
    order: list[tuple[int, int]] = []

    async def visit(place: int) -> None:
        async with store.lock("c", 3600) as line:
            order.append((place, line.tickets[0].number))

    await asyncio.gather(*(visit(place) for place in range(20)))
    first = first_number(store)
    assert order == [(place, first + place) for place in range(20)]


async def test_cancelled_calls_and_issue_ticket_among_them_change_no_order(store: LockStore) -> None:
    async def visit() -> int:
        async with store.lock("c", 3600) as line:
            return line.tickets[0].number

    async def issue() -> int:
        number = await store.issue_ticket("c", 3600)
        await store.finish_serving("c", number)
        return number

    for steps in range(12):
        tasks = [asyncio.create_task(visit() if place % 3 else issue()) for place in range(30)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for place in (4, 8, 16, 20, 28):  # visits: whoever issues a ticket by hand gives it back by hand
            tasks[place].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        numbers = [result for result in results if isinstance(result, int)]
        assert numbers == sorted(set(numbers))
        assert len(numbers) >= 25
    assert not await store.is_someone_waiting("c")


async def test_conversations_are_issued_beside_each_other(store: LockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    if type(store).__name__ == "InMemoryLockStore":
        pytest.skip("it issues in no time")
    issue_all, go_on = store.issue_all, asyncio.Event()

    async def slow(conversation_id: str, tickets: Sequence[NewTicket]) -> Entered:
        if conversation_id == "slow":
            await go_on.wait()
        return await issue_all(conversation_id, tickets)

    monkeypatch.setattr(store, "issue_all", slow)
    waiting = asyncio.create_task(store.issue_ticket("slow"))
    assert await store.issue_ticket("c") == first_number(store)
    assert not waiting.done()
    go_on.set()
    assert await waiting == first_number(store)
    assert store.direct._queues == {}


@lasting_kinds
async def test_a_ticket_whose_reply_was_lost_is_taken_out_of_the_line(
    store: LockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_all, faults = store.issue_all, 2

    async def lost(conversation_id: str, tickets: Sequence[NewTicket]) -> Entered:
        nonlocal faults
        entered = await issue_all(conversation_id, tickets)
        if faults:
            faults -= 1
            raise StoreUnavailableError("the reply was lost")
        return entered

    monkeypatch.setattr(store, "issue_all", lost)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="the reply was lost"):
            async with store.lock("c", 3600):
                pytest.fail("inside")
    async with asyncio.timeout(60), store.lock("c", 3600, wait_time_in_seconds=0.05) as line:
        assert line.tickets[0].number == first_number(store) + 2
    assert not await store.is_someone_waiting("c")


async def test_a_store_that_is_away_while_giving_back_gets_it_later(
    store: LockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, away = store.act, True

    async def sometimes(command: object) -> int:
        if away:
            raise StoreUnavailableError("it is away")
        return await act(command)  # type: ignore[arg-type]

    with pytest.raises(ZeroDivisionError) as caught:
        async with store.lock("c", 3600):
            monkeypatch.setattr(store, "act", sometimes)
            raise ZeroDivisionError
    assert "could not be returned: it is away" in caught.value.__notes__[0]
    assert await store.is_someone_waiting("c")
    away = False
    async with asyncio.timeout(60), store.lock("c", 3600, wait_time_in_seconds=0.05):
        pass
    assert not await store.is_someone_waiting("c")


async def test_closing_the_store_ends_what_is_tried_in_the_background(
    store: LockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError("it is away")

    before = asyncio.all_tasks()
    with pytest.raises(StoreUnavailableError):
        async with store.lock("c", 3600):
            monkeypatch.setattr(store, "finish_serving", away)
    assert asyncio.all_tasks() - before
    await store.close()
    assert not store.direct._returning
    monkeypatch.undo()
