"""Records in outboxes that are no events': each is found as such, hides no other, and can be let go of. Both Redis stores."""

import json
from typing import Any

import pytest
import redis.asyncio as redis
from hypothesis import given
from hypothesis import strategies as st

from harness import RedisServer
from lockstore.core.commands import Request
from lockstore.core.events import UNREADABLE, checked_event, to_record
from lockstore.core.rules import Limits
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.factory import create_store
from lockstore.protocol.codec import encode, expiration_ms, message_id
from lockstore.stores.line_engine import LineEngine
from lockstore.stores.outbox import find_record
from lockstore.stores.redis.concurrent.replies import add_found
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from lockstore.stores.redis.rasa.serialization import parsed
from lockstore.stores.results import Entry, Patrol

GRANTED = ["granted", "c", 1, "r", "", 1000, "q", "r", "", "", 0, 2000, 0, 0]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud800", "é" * 200, 10**40]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
NEARLY = st.tuples(st.integers(0, len(GRANTED) - 1), VALUES).map(
    lambda change: [*GRANTED[: change[0]], change[1], *GRANTED[change[0] + 1 :]]
)
RECORDS = st.one_of(NEARLY, VALUES, st.lists(VALUES, max_size=16), st.just(GRANTED), st.just(["opened", *GRANTED[1:]]))


@given(RECORDS)
def test_whatever_a_record_is_it_is_an_event_or_refused_as_none(record: Any) -> None:
    try:
        event = checked_event(record)
    except UNREADABLE:
        return
    # What was taken for an event can be written, or fails in a way that sets aside this one alone.
    try:
        assert json.loads(encode(event))["type"] == record[0]
        message_id(event)
        assert 0 < expiration_ms(event) < 2**32
    except UNREADABLE:
        pass


@given(st.lists(RECORDS, max_size=6))
def test_in_a_line_of_values_each_is_found_once_and_the_good_one_among_them(records: list[Any]) -> None:
    found = Patrol()
    for record in [*records, GRANTED]:
        find_record(found, "c", record)
    assert len(found.unannounced) + len(found.unreadable) == len(records) + 1
    assert to_record(found.unannounced[-1].event) == GRANTED


@given(st.lists(st.binary(max_size=30) | RECORDS.map(lambda record: json.dumps(record).encode()), max_size=6))
def test_in_a_stream_each_is_found_once_and_the_good_one_among_them(raw: list[bytes]) -> None:
    found = Patrol()
    entries = [
        part for place, record in enumerate([*raw, json.dumps(GRANTED).encode()]) for part in (b"%d-0" % place, record)
    ]
    assert add_found(found, 0, [5000, -1, [], entries, b""]) == "-"
    assert len(found.unannounced) + len(found.unreadable) == len(raw) + 1
    assert to_record(found.unannounced[-1].event) == GRANTED


def test_in_a_stream_what_its_daemon_is_publishing_is_not_even_read() -> None:
    found, record = Patrol(), json.dumps(GRANTED).encode()
    reply = [5000, -1, [], [b"1-0", b"{", b"2-0", record, b"3-0", record], b"3-0"]
    assert add_found(found, 7, reply, {Entry(7, "1-0"), Entry(7, "3-0"), Entry(8, "2-0")}) == "(3-0"
    assert [notice.entry for notice in found.unannounced] == [Entry(7, "2-0")]
    assert not found.unreadable


@given(st.lists(VALUES, max_size=4))
def test_a_memo_with_anything_for_an_outbox_is_a_line_or_an_error_of_this_conversation_alone(items: list[Any]) -> None:
    memo = json.dumps({"outbox": items}).encode()
    try:
        lock = parsed("c", [b"", b"1", memo])
    except ConversationError:
        return
    assert len(lock.outbox) == len(items)
    LineEngine.look_at_ms(lock)
    TicketLock.from_dict(lock.as_dict())


DAMAGED = [
    b"",
    b"{",
    b"null",
    b'["granted"]',
    b'["opened","c",1,"r","",1,"","","","",0]',
    b"\xff\xfe",
    b'"' + b"x" * 5000 + b'"',
]


@pytest.fixture
def section(redis_server: RedisServer, namespace: str) -> dict[str, Any]:
    return {
        "type": "concurrent_redis",
        "host": redis_server.host,
        "port": redis_server.port,
        "key_prefix": namespace,
    }


async def test_a_stream_with_damaged_entries_gives_the_others_and_lets_go_of_all(
    section: dict[str, Any], redis_server: RedisServer, namespace: str
) -> None:
    store = create_store(section, Limits())
    await store.open()
    shard = store.shard_of("c")
    raw = redis.Redis(host=redis_server.host, port=redis_server.port, db=1)
    outbox = ConcurrentKeys(namespace).of_shard(int(shard))[1]
    for record in DAMAGED:
        await raw.xadd(outbox, {"e": record})
    await raw.xadd(outbox, {"other": "x"})
    await store.apply([Request("c", "r", 1000, 1000)])
    await store.backlog()
    assert [item async for item in store.audit()]
    found = await store.patrol(store.shards(), 0)
    assert [notice.event.request_id for notice in found.unannounced] == ["r"]
    assert len(found.unreadable) == len(DAMAGED) + 1
    await store.confirm([item.entry for item in found.unreadable])
    assert (await store.patrol(store.shards(), 0)).unreadable == []
    await store.close()
    await raw.aclose()


async def test_a_memo_with_damaged_entries_gives_the_others_and_lets_go_of_all(
    section: dict[str, Any], redis_server: RedisServer, namespace: str
) -> None:
    store = create_store({**section, "type": "redis"}, Limits())
    await store.open()
    await store.apply([Request("c", "r", 60_000, 1000)])
    raw = redis.Redis(host=redis_server.host, port=redis_server.port, db=1)
    key = RedisKeys(namespace).of("c").memo
    memo = json.loads(await raw.get(key) or b"")
    memo["outbox"] += [[1, None], [1, ["opened", "c"]], [1, ["granted", *["x"] * 12]], 7, ["a"], {}]
    await raw.set(key, json.dumps(memo))
    found = await store.patrol(store.shards(), 0)
    assert [notice.event.request_id for notice in found.unannounced] == ["r"]
    assert len(found.unreadable) == 6
    await store.backlog()
    await store.confirm([item.entry for item in found.unreadable])
    assert len(json.loads(await raw.get(key) or b"")["outbox"]) == 1
    await store.close()
    await raw.aclose()


async def test_a_patrol_goes_on_behind_entries_that_stay(section: dict[str, Any]) -> None:
    store = create_store(section, Limits())
    await store.open()
    for place in range(150):
        await store.apply([Request("c", f"r{place}", 60_000, 60_000)])
    seen: set[str | None] = set()
    for _ in range(3):
        seen |= {notice.event.request_id for notice in (await store.patrol([store.shard_of("c")], 0)).unannounced}
    assert len(seen) == 150
    await store.close()
