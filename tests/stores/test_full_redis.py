"""Redis is full (`maxmemory` with `noeviction`): what gives memory back goes on, and requests hear that there is none."""

from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_asyncio
import redis

from harness import RedisServer
from lockstore.core.commands import Command, Expire, Release, Renew, Request, Withdraw
from lockstore.core.events import Event, Rejected
from lockstore.core.rules import Limits
from lockstore.core.ticket import Sender
from lockstore.errors import ConversationError, StoreFullError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from tests.stores.kinds import one_server_kinds

pytestmark = one_server_kinds


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture
async def store(kind: str, server: RedisServer) -> AsyncIterator[LockStore]:
    store = create_store({"type": kind, "host": server.host, "port": server.port}, Limits())
    await store.open()
    yield store
    await store.close()


@contextmanager
def full(server: RedisServer) -> Any:
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


def ask(request_id: str, wait_ms: int = 60_000, lifetime_ms: int = 60_000) -> Request:
    return Request("c", request_id, lifetime_ms, wait_ms, sender=Sender(reply_to="q"))


async def told(store: LockStore, *commands: Command) -> list[str]:
    outcomes: Any = None
    try:
        outcomes = await store.apply(commands)
    except StoreFullError as error:
        outcomes = error.outcomes
    said: list[Event] = []
    for outcome in outcomes:
        assert not isinstance(outcome, ConversationError)
        said += [notice.event for notice in outcome]
    return [
        f"{event.request_id} {event.reason if isinstance(event, Rejected) else type(event).__name__}" for event in said
    ]


async def test_releases_go_on_and_grant_the_next(store: LockStore, server: RedisServer) -> None:
    assert await told(store, ask("a"), ask("b"), ask("x")) == ["a Granted", "b Queued", "x Queued"]
    with full(server):
        assert await told(store, Renew("c", request_id="a")) == ["a Renewed"]
        assert await told(store, Release("c", request_id="a")) == ["a Released", "b Granted"]
        lock, _ = await store.view("c")
        assert lock is not None
        assert await told(store, Withdraw("c", lock.tickets[0].number, "q")) == ["b Cancelled", "x Granted"]
        taken = await store.force_release("c", "an operator")
        assert taken is not None
        assert taken.request_id == "x"


async def test_expiries_go_on(store: LockStore, server: RedisServer) -> None:
    await told(store, ask("a", lifetime_ms=1), ask("b"))
    lock, _ = await store.view("c")
    with full(server):
        while lock is not None and lock.tickets[0].claim.request_id == "a":  # type: ignore[union-attr]
            await told(store, Expire("c", lock.tickets[0].number))
            lock, _ = await store.view("c")
        found = await store.patrol([store.shard_of("c")], 0)
        await store.confirm([notice.entry for notice in found.unannounced if notice.entry])
    assert lock is not None


async def test_a_request_without_a_ticket_is_refused_and_may_ask_again(store: LockStore, server: RedisServer) -> None:
    await told(store, ask("a"))
    with full(server):
        with pytest.raises(StoreFullError, match="Redis is full"):
            await store.apply([ask("b")])
        assert await told(store, ask("b")) == ["b store_full"]
    assert await told(store, ask("b")) == ["b Queued"]


async def test_a_batch_with_requests_and_a_release_applies_the_release(store: LockStore, server: RedisServer) -> None:
    await told(store, ask("a"), ask("b"))
    with full(server):
        said = await told(store, ask("x"), ask("y"), Release("c", request_id="a"), ask("z"))
        assert sorted(said) == ["a Released", "b Granted", "x store_full", "y store_full", "z store_full"]
        lock, _ = await store.view("c")
        assert lock is not None
        assert len(lock.tickets) == 1


async def test_a_batch_of_releases_of_one_line_is_applied(store: LockStore, server: RedisServer) -> None:
    await told(store, ask("a"), ask("b"), ask("x"))
    with full(server):
        outcomes = await store.apply([Release("c", request_id=name) for name in "abx"])
        assert not any(isinstance(outcome, ConversationError) for outcome in outcomes)
        assert not await store.is_someone_waiting("c")


async def test_a_request_that_has_its_ticket_gets_the_same_answer_again(store: LockStore, server: RedisServer) -> None:
    await told(store, ask("a"), ask("b"), ask("gone"), Release("c", request_id="gone"))
    with full(server):
        assert await told(store, ask("a"), ask("b"), ask("gone")) == ["a Granted", "b Queued", "gone finished"]


async def test_direct_tickets_are_given_back_and_not_issued(store: LockStore, server: RedisServer) -> None:
    number = await store.issue_ticket("c")
    with full(server):
        with pytest.raises(StoreFullError):
            await store.issue_ticket("c")
        await store.finish_serving("c", number)
        assert not await store.is_someone_waiting("c")


async def test_looking_and_opening_go_on(kind: str, store: LockStore, server: RedisServer) -> None:
    await told(store, ask("a"))
    with full(server):
        second = create_store({"type": kind, "host": server.host, "port": server.port}, Limits())
        await second.open()
        survey = await second.statistics(10)
        assert survey is not None
        assert await second.find("c", 10) == ["c"]
        await second.history("c")
        await second.backlog()
        async for _ in second.audit():
            pass
        await second.close()
