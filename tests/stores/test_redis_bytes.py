"""Rasa's keys and bytes, both ways: a Rasa deployment's Redis is taken over as it stands, and may be taken back."""

import json
import time
from typing import Any

import pytest

from lockstore.core.commands import Command, Release, Request, Settle
from lockstore.core.events import Event
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError, LockError
from lockstore.stores.base import LockStore
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.rasa.store import RedisLockStore
from lockstore.stores.wait_for_turn import wait_for_turn
from tests.stores.conftest import OpenStore
from tests.stores.deployments import Deployment
from tests.stores.table import line_of
from tests.support.rasa import as_rasa_reads, rasas_value


@pytest.fixture(params=["redis", "redis-cluster"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def later() -> float:
    """Give a deadline that does not come in this test, as Rasa writes it: with microseconds."""
    return time.time() + 3600.123456


def key(prefix: str, conversation_id: str) -> str:
    return f"{prefix}:lock:{conversation_id}"


async def told(store: LockStore, *commands: Command) -> list[Event]:
    events: list[Event] = []
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)
        events += [notice.event for notice in outcome]
    return events


def test_this_is_the_documented_example() -> None:
    written = r'{"conversation_id": "x", "tickets": ["{\"number\": 0, \"expires\": 1795459434.5}"]}'
    assert rasas_value("x", (0, 1795459434.5)) == written
    assert TicketLock.from_dict(json.loads(written)).dumps() == written


async def test_direct_tickets_are_written_exactly_as_rasa_writes_them(
    store: LockStore, client: Any, key_prefix: str
) -> None:
    await store.issue_ticket("c", 60)
    await store.issue_ticket("c", 120)
    value = client.get(key(key_prefix, "c"))
    assert value.decode() == rasas_value("c", *as_rasa_reads(value))
    assert [number for number, _ in as_rasa_reads(value)] == [0, 1]
    assert client.ttl(key(key_prefix, "c")) == -1


async def test_the_value_goes_with_the_last_ticket(store: LockStore, client: Any, key_prefix: str) -> None:
    number = await store.issue_ticket("c")
    await store.cleanup("c", number)
    assert client.get(key(key_prefix, "c")) is None


async def test_a_value_of_rasas_is_read_and_continued(
    store: LockStore, client: Any, key_prefix: str, later: float
) -> None:
    client.set(key(key_prefix, "c"), rasas_value("c", (6, later), (7, later)))
    lock = await line_of(store, "c")
    assert lock is not None
    assert (lock.now_serving, lock.last_issued) == (6, 7)
    assert await store.issue_ticket("c") == 8
    value = client.get(key(key_prefix, "c"))
    assert as_rasa_reads(value)[:2] == [(6, later), (7, later)]


async def test_the_daemon_waits_for_rasas_tickets_and_takes_over(
    store: LockStore, client: Any, key_prefix: str, later: float
) -> None:
    client.set(key(key_prefix, "c"), rasas_value("c", (0, later)))
    (queued,) = await told(store, Request("c", "a", 1000, 60_000))
    assert (type(queued).__name__, queued.number) == ("Queued", 1)
    # A Rasa process gives its ticket back: it reads, changes and writes, and knows nothing of our fields.
    lock = json.loads(client.get(key(key_prefix, "c")))
    client.set(key(key_prefix, "c"), json.dumps({"conversation_id": "c", "tickets": lock["tickets"][1:]}))
    (granted,) = await told(store, Settle("c"))
    assert (type(granted).__name__, granted.number) == ("Granted", 1)


async def test_rasas_overdue_tickets_end_by_the_servers_clock(store: LockStore, client: Any, key_prefix: str) -> None:
    client.set(key(key_prefix, "c"), rasas_value("c", (3, time.time() - 60)))
    (granted,) = await told(store, Request("c", "a", 1000, 0))
    assert (type(granted).__name__, granted.number) == ("Granted", 4)


async def test_rasa_reads_the_daemons_tickets(store: LockStore, client: Any, key_prefix: str) -> None:
    await told(store, Request("c", "a", 60_000, 0, "bot"), Request("c", "b", 60_000, 60_000))
    tickets = as_rasa_reads(client.get(key(key_prefix, "c")))
    assert [number for number, _ in tickets] == [0, 1]
    assert all(expires > time.time() for _, expires in tickets)


async def test_numbers_do_not_fall_back_where_rasa_begins_anew(
    store: LockStore, client: Any, key_prefix: str, later: float
) -> None:
    for _ in range(5):
        await store.cleanup("c", await store.issue_ticket("c"))
    client.set(key(key_prefix, "c"), rasas_value("c", (0, later)))
    assert await store.issue_ticket("c") == 5


async def test_without_a_prefix_the_keys_are_rasas_own(deployment: Deployment, client: Any, later: float) -> None:
    before = set(client.scan_iter())
    store = RedisLockStore(RedisOptions(**deployment.options))
    await store.open()
    try:
        client.set("lock:rasas own", rasas_value("rasas own", (0, later)))
        assert await store.issue_ticket("rasas own") == 1
        assert [number for number, _ in as_rasa_reads(client.get("lock:rasas own"))] == [0, 1]
    finally:
        await store.close()
        client.delete(*(set(client.scan_iter()) - before))


async def test_a_daemon_knows_from_the_start_what_stands_on_redis(
    open_store: OpenStore, client: Any, key_prefix: str
) -> None:
    client.set(key(key_prefix, "rasa's"), rasas_value("rasa's", (0, time.time() - 60)))
    client.set(key(key_prefix, "broken"), "not JSON")
    store = await open_store()
    (overdue,) = (await store.patrol(store.shards(), 0)).overdue
    assert (overdue.conversation_id, overdue.number) == ("rasa's", 0)


SPOILT = {
    "not JSON": b"certainly",
    "not UTF-8": b"\xff\xfe",
    "another shape": b"[1, 2]",
    "no conversation": b'{"tickets": "many"}',
    "no ticket": b'{"conversation_id": "c", "tickets": ["5"]}',
    "no number": b'{"conversation_id": "c", "tickets": ["{\\"expires\\": 5.0}"]}',
    "no time": b'{"conversation_id": "c", "tickets": ["{\\"number\\": 0, \\"expires\\": null}"]}',
    "infinite time": b'{"conversation_id": "c", "tickets": ["{\\"number\\": 0, \\"expires\\": Infinity}"]}',
    "a claim of nothing": b'{"conversation_id":"c","tickets":["{\\"number\\":0,\\"expires\\":5.0,\\"claim\\":{}}"]}',
}


@pytest.mark.parametrize("value", SPOILT.values(), ids=SPOILT.keys())
async def test_a_value_that_is_no_lock_harms_its_own_conversation_alone(
    value: bytes, store: LockStore, client: Any, key_prefix: str
) -> None:
    client.set(key(key_prefix, "c"), value)
    commands = [Request(name, "a", 1000, 0) for name in ("b", "c", "d", "c")]
    before, spoilt, after, again = await store.apply(commands)
    assert isinstance(spoilt, ConversationError)
    assert isinstance(again, ConversationError)
    assert not isinstance(before, ConversationError)
    assert not isinstance(after, ConversationError)
    with pytest.raises(ConversationError):
        await store.issue_ticket("c")
    assert client.get(key(key_prefix, "c")) == value  # left as it is, for people to look at


async def test_a_value_that_names_another_conversation_counts_for_its_key(
    store: LockStore, client: Any, key_prefix: str, later: float
) -> None:
    client.set(key(key_prefix, "c"), rasas_value("someone else", (0, later)))
    (queued,) = await told(store, Request("c", "a", 1000, 1000))
    assert (queued.conversation_id, queued.number) == ("c", 1)


async def test_a_rasa_process_that_overwrites_us_is_seen(
    store: LockStore, client: Any, key_prefix: str, later: float
) -> None:
    """Rasa writes without looking; whoever waits on a ticket that is gone then is told so."""
    async with store.lock("c"):
        client.set(key(key_prefix, "c"), rasas_value("c", (0, later)))
        client.delete(key(key_prefix, "c"))
    client.set(key(key_prefix, "d"), rasas_value("d", (0, later)))
    with pytest.raises(LockError):
        await _loses_its_place(store, client, key_prefix, later)


async def _loses_its_place(store: LockStore, client: Any, key_prefix: str, later: float) -> None:
    number = await store.issue_ticket("d", 3600)
    client.set(key(key_prefix, "d"), rasas_value("d", (0, later)))
    await wait_for_turn(store, "d", number, 0.01)


async def test_released_lines_leave_only_a_number_and_a_memo_for_a_while(
    store: LockStore, client: Any, key_prefix: str
) -> None:
    notices = [notice for outcome in await store.apply([Request("c", "a", 1000, 0)]) for notice in _served(outcome)]
    notices += [notice for outcome in await store.apply([Release("c", request_id="a")]) for notice in _served(outcome)]
    await store.confirm([notice.entry for notice in notices if notice.entry])
    lives = {name.split(b":")[2]: client.pttl(name) for name in client.scan_iter(f"{key_prefix}:*:c")}
    assert lives.keys() == {b"last", b"memo"}
    assert lives[b"last"] == -1
    assert store.limits.dedup_window_ms < lives[b"memo"] <= store.limits.history_keep_ms


def _served(outcome: Any) -> Any:
    assert not isinstance(outcome, ConversationError)
    return outcome
