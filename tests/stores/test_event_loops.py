"""A store belongs to the event loop that it is used in, until it is closed."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from lockstore.core.line import Limits
from lockstore.errors import EventLoopError, StoreError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from tests.stores.kinds import ALL_KINDS
from tests.stores.table import line_of

pytestmark = pytest.mark.parametrize("kind", ALL_KINDS)


@pytest.fixture
def store(section: dict[str, Any], clean_redis: None) -> LockStore:
    """Give a store that no event loop knows yet."""
    return create_store(section, Limits())


async def contend(store: LockStore, kind: str) -> list[int]:
    """Use all that a store has: its connections, its hints, and waiting in this process."""
    await store.open()
    served: list[int] = []

    async def visit() -> None:
        async with store.lock("c", 3600) as line:
            served.append(line.tickets[0].number)
            await asyncio.sleep(0)

    await asyncio.gather(*(visit() for _ in range(5)))
    # More than may be under way at once; where each new connection also asks others for the way, a busy machine needs too long.
    many = 3 if "-" in kind else 100
    await asyncio.gather(*(store.is_someone_waiting(f"other {place}") for place in range(many)))
    assert not await store.is_someone_waiting("c")
    return served


def test_a_store_that_was_closed_is_used_in_a_second_event_loop(store: LockStore, kind: str) -> None:
    async def use_and_close() -> list[int]:
        try:
            return await contend(store, kind)
        finally:
            await store.close()

    for _ in range(3):
        served = asyncio.run(use_and_close())
        assert served == sorted(served)
        assert len(served) == 5


def test_a_store_that_is_open_in_one_event_loop_is_refused_in_another_with_one_clear_sentence(
    store: LockStore, kind: str
) -> None:
    async def hold() -> None:
        async with store.lock("c", 3600):
            pytest.fail("inside")

    uses: dict[str, Any] = {
        "lock": hold,
        "issue_ticket": lambda: store.issue_ticket("c"),
        "finish_serving": lambda: store.finish_serving("c", 1),
        "is_someone_waiting": lambda: store.is_someone_waiting("c"),
        "get_or_create_lock": lambda: store.get_or_create_lock("c"),
        "close": store.close,
    }
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(contend(store, kind))
        for name, use in uses.items():
            coroutine: Coroutine[Any, Any, Any] = use()
            with pytest.raises(EventLoopError, match="in use in another event loop: close it there") as caught:
                second.run(coroutine)
            assert isinstance(caught.value, StoreError), name
        line = first.run(line_of(store, "c"))
        assert line is None or not line.tickets
        assert len(first.run(contend(store, kind))) == 5
        first.run(store.close())
        assert len(second.run(contend(store, kind))) == 5
        second.run(store.close())


def test_a_store_whose_event_loop_is_gone_is_refused_with_the_same_sentence(store: LockStore) -> None:
    async def use_and_leave() -> None:
        async with store.lock("c", 3600):
            pass

    with asyncio.Runner() as first:
        first.run(store.open())
        first.run(use_and_leave())
        with asyncio.Runner() as second, pytest.raises(EventLoopError, match="one store for each event loop"):
            second.run(store.issue_ticket("c"))
        first.run(store.close())
