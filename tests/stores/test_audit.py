"""An audit finds every kind of damage, tells it from all others, and finds nothing in a store that is busy and well."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import pytest

from lockstore.core.commands import Command, Release, Renew, Request
from lockstore.core.statistics import UNANNOUNCED_MS
from lockstore.core.ticket import Claim, Ticket, TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.audit import REMEDIES, AuditFinding, Progress, Rule
from lockstore.stores.base import LockStore
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.key_ownership import ConcurrentNames
from lockstore.stores.redis.keys import RedisKeys
from lockstore.stores.redis.rasa.store import RedisLockStore
from tests.stores.conftest import OpenStore
from tests.stores.kinds import dict_kinds, only_redis
from tests.stores.table import done
from tests.stores.test_outbox import entries, patrol, told
from tests.stores.test_overview import ODD_IDS, stand

LATE = UNANNOUNCED_MS * 2
HOUR_MS = 3_600_000


async def audited(store: LockStore) -> tuple[list[AuditFinding], list[Progress]]:
    """Run an audit to its end."""
    findings: list[AuditFinding] = []
    progress: list[Progress] = []
    async for item in store.audit():
        if isinstance(item, AuditFinding):
            findings.append(item)
        else:
            progress.append(item)
    return findings, progress


async def found(store: LockStore) -> set[tuple[str | None, Rule]]:
    findings, _ = await audited(store)
    return {(finding.conversation_id, finding.rule) for finding in findings}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# --- a store that is well --------------------------------------------------------------------------------------------


async def test_a_store_that_is_well_gives_no_finding(store: LockStore) -> None:
    await stand(store, *((name, 1 + place % 3) for place, name in enumerate(ODD_IDS)), ("over", 2))
    await store.confirm(entries(await told(store, Release("over", request_id="r0"), Release("over", request_id="r1"))))
    await store.confirm(entries(await told(store, Release("early", request_id="a"), Request("busy", "a", 60_000, 0))))
    await store.issue_ticket("direct", 60)
    await patrol(store)
    findings, progress = await audited(store)
    assert findings == []
    lines = [step for step in progress if step.of == "lines"]
    assert lines[-1].done >= len(ODD_IDS) + 1
    assert [step.done for step in lines] == sorted(step.done for step in lines)
    if isinstance(store, ConcurrentRedisLockStore):
        assert {step.total for step in lines} == {lines[-1].done}


async def test_a_store_that_is_busy_gives_none_either(open_store: OpenStore) -> None:
    working, looking = await open_store(), await open_store()
    if not isinstance(working, ConcurrentRedisLockStore | RedisLockStore):
        looking = working  # others keep in mind only what they have seen
    stop = asyncio.Event()
    names = count()

    async def work(seed: int) -> None:
        choose = random.Random(seed)
        mine: list[tuple[str, str]] = []
        while not stop.is_set():
            commands: list[Command] = []
            for _ in range(8):
                if mine and choose.random() < 0.5:
                    conversation, request_id = mine.pop(choose.randrange(len(mine)))
                    commands.append(Renew(conversation, None, request_id))
                    commands.append(Release(conversation, None, request_id))
                else:
                    mine.append((f"c{choose.randrange(12)}", f"r{next(names)}"))
                    lifetime_ms, wait_ms = choose.choice([1, 5, 60_000]), choose.choice([0, 3, 60_000])
                    commands.append(Request(*mine[-1], lifetime_ms, wait_ms))
            await working.confirm(entries(await told(working, *commands)))
            await working.confirm(entries(await told(working, *(await patrol(working)).overdue)))
            await asyncio.sleep(0)

    workers = [asyncio.create_task(work(seed)) for seed in range(4)]
    try:
        for turn in range(3):
            while next(names) < turn * 50:
                await asyncio.sleep(0)
            findings, _ = await audited(looking)
            assert findings == []
    finally:
        stop.set()
        await asyncio.gather(*workers)
    await patrol(working)


# --- concurrent_redis ------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """Two lines in Redis: `c`, in which three stand, which is damaged; and `idle`, which is empty."""

    client: Any
    keys: Mapping[str, str]
    idle: Mapping[str, str]

    def ticket(self, number: int, **changed: Any) -> Self:
        """Write a ticket with other values."""
        places = {"request": 0, "deadline": 8, "granted_at": 9}
        array = json.loads(self.client.hget(self.keys["tickets"], number))
        for name, value in changed.items():
            array[places[name]] = value
        self.client.hset(self.keys["tickets"], str(number), json.dumps(array))
        return self


def _of_shard(place: Place, kind: str) -> str:
    return place.keys["line"].removesuffix("line:c") + kind


def _late(place: Place) -> None:
    place.ticket(1, deadline=now_ms() - LATE)
    place.client.zadd(place.keys["deadlines"], {"1:c": now_ms() - LATE})
    place.ticket(1, deadline=int(place.client.zscore(place.keys["deadlines"], "1:c")))


def _old_event(place: Place) -> None:
    place.client.delete(place.keys["outbox"])
    record = ["granted", "c", 1, "r", "", now_ms() - LATE, "", "", "", "", 0, 0, 0, 0]
    place.client.xadd(place.keys["outbox"], {"e": json.dumps(record)}, id="1-1")


def _hidden(place: Place) -> None:
    """No index names the line any more: only going through all keys finds it."""
    place.client.zrem(place.keys["lines"], "c")
    place.client.zrem(place.keys["waiting"], "c")
    place.client.zrem(place.keys["deadlines"], "1:c", "2:c", "3:c")


def _another_type(place: Place) -> None:
    place.client.delete(place.keys["lines"])
    place.client.set(place.keys["lines"], "no sorted set")


C: dict[str, tuple[Callable[[Place], object], set[tuple[str | None, Rule]]]] = {
    "two holders": (lambda p: p.ticket(2, granted_at=1), {("c", "holder")}),
    "a holder behind": (
        lambda p: p.ticket(1, granted_at=0).ticket(2, granted_at=1),
        {("c", "holder"), ("c", "head")},
    ),
    "a head without a grant": (lambda p: p.ticket(1, granted_at=0), {("c", "head")}),
    "a last number that went back": (lambda p: p.client.set(p.keys["last"], 2), {("c", "numbers")}),
    "a last number that is gone": (lambda p: p.client.delete(p.keys["last"]), {("c", "numbers")}),
    "a last number that is none": (lambda p: p.client.set(p.keys["last"], "three"), {("c", "numbers")}),
    "numbers that do not rise": (
        lambda p: p.client.zadd(p.keys["line"], {"1": 9}),
        {("c", "numbers"), ("c", "holder"), ("c", "head")},
    ),
    "a place without a ticket": (lambda p: p.client.hdel(p.keys["tickets"], "2"), {("c", "data")}),
    "a ticket without a place": (lambda p: p.client.zrem(p.keys["line"], "3"), {("c", "data"), ("c", "index")}),
    "a ticket that is none": (lambda p: p.client.hset(p.keys["tickets"], "2", "[1, 2]"), {("c", "data")}),
    "two tickets of one request": (lambda p: p.ticket(3, request="r1"), {("c", "request")}),
    "a request that leads nowhere": (lambda p: p.client.hdel(p.keys["requests"], "r1"), {("c", "request")}),
    "a ticket without a deadline": (lambda p: p.client.zrem(p.keys["deadlines"], "2:c"), {("c", "deadline")}),
    "another deadline": (lambda p: p.client.zincrby(p.keys["deadlines"], 5, "2:c"), {("c", "deadline")}),
    "a deadline without a ticket": (
        lambda p: p.client.zadd(p.keys["deadlines"], {"7:c": now_ms() + HOUR_MS}),
        {("c", "deadline")},
    ),
    "a deadline of nothing": (lambda p: p.client.zadd(p.keys["deadlines"], {"what": 1}), {(None, "name")}),
    "a line that no index has": (lambda p: p.client.zrem(p.keys["lines"], "c"), {("c", "index")}),
    "a wrong length": (lambda p: p.client.zadd(p.keys["lines"], {"c": -4}), {("c", "index")}),
    "an index without a line": (lambda p: p.client.zadd(p.idle["lines"], {"idle": -1}), {("idle", "index")}),
    "an index of another shard": (lambda p: p.client.zadd(p.idle["lines"], {"c": -3}), {(None, "name")}),
    "waiting that no index has": (lambda p: p.client.zrem(p.keys["waiting"], "c"), {("c", "index")}),
    "waiting where nobody waits": (lambda p: p.client.zadd(p.idle["waiting"], {"idle": 1}), {("idle", "index")}),
    "waiting since later than it is": (
        lambda p: p.client.zadd(p.keys["waiting"], {"c": now_ms() + 1}),
        {("c", "index")},
    ),
    "a line that nothing names": (_hidden, {("c", "index"), ("c", "deadline")}),
    "an index that is none": (_another_type, {(None, "data"), ("c", "data")}),
    "a live line that will go": (lambda p: p.client.expire(p.keys["requests"], 1000), {("c", "life")}),
    "a memory that will not go": (lambda p: p.client.persist(p.idle["requests"]), {("idle", "life")}),
    "a history that will not go": (lambda p: p.client.persist(p.idle["events"]), {("idle", "life")}),
    "a deadline long past": (_late, {("c", "late")}),
    "an event that nobody announced": (_old_event, {(None, "outbox")}),
    "a name that the store does not give": (
        lambda p: p.client.set(_of_shard(p, "last:of another"), 5),
        {(None, "name")},
    ),
}


@pytest.mark.parametrize("kind", ["concurrent_redis", "concurrent_redis-cluster"])
@pytest.mark.parametrize("damage", C)
async def test_in_concurrent_redis_each_damage_is_found(
    damage: str, store: LockStore, client: Any, key_prefix: str
) -> None:
    assert isinstance(store, ConcurrentRedisLockStore)
    await stand(store, ("c", 3), ("other", 2), ("idle", 1))
    await store.confirm(entries(await told(store, Release("idle", request_id="r0"))))
    await patrol(store)
    kinds = list(ConcurrentNames.types)[:-1]  # all but the mark
    of = [
        dict(zip(kinds, store._keys.of_line(name, store._keys.shard_of(name)), strict=True)) for name in ("c", "idle")
    ]
    assert store._keys.shard_of("c") != store._keys.shard_of("idle")
    spoil, expected = C[damage]
    try:
        assert await found(store) == set()
        spoil(Place(client, *of))
        assert await found(store) == expected
    finally:
        client.delete(*client.scan_iter(f"{key_prefix}:*"))


# --- redis -----------------------------------------------------------------------------------------------------------


@dataclass
class Value:
    """The line `c` in Redis, in which three stand."""

    client: Any
    keys: RedisKeys

    def line(self, change: Callable[[list[dict[str, Any]]], object]) -> Self:
        """Write the line with other tickets."""
        key = self.keys.of("c").lock
        data = json.loads(self.client.get(key))
        tickets = [json.loads(ticket) for ticket in data["tickets"]]
        change(tickets)
        self.client.set(key, json.dumps({**data, "tickets": [json.dumps(ticket) for ticket in tickets]}))
        return self

    def memo(self, **fields: Any) -> Self:
        """Write the memo with other fields."""
        key = self.keys.of("c").memo
        self.client.set(key, json.dumps({**json.loads(self.client.get(key) or "{}"), **fields}))
        return self

    @property
    def agenda(self) -> str:
        return self.keys.agenda(self.keys.slot_of("c"))

    def note(self, at_ms: int) -> Self:
        """Have the line looked at at another time."""
        self.client.zadd(self.agenda, {"c": at_ms})
        return self


R: dict[str, tuple[Callable[[Value], object], set[tuple[str | None, Rule]]]] = {
    "two holders": (lambda v: v.line(lambda t: t[1]["claim"].update(granted_at_ms=1)), {("c", "holder")}),
    "a head without a grant, and nobody comes": (
        lambda v: v.line(lambda t: t[0]["claim"].pop("granted_at_ms")).note(now_ms() + HOUR_MS),
        {("c", "head"), ("c", "deadline")},
    ),
    "numbers that do not rise": (lambda v: v.line(lambda t: t[1].update(number=7)), {("c", "numbers")}),
    "a last number that went back": (lambda v: v.client.set(v.keys.of("c").last, 1), {("c", "numbers")}),
    "two tickets of one request": (
        lambda v: v.line(lambda t: t[2]["claim"].update(request_id="r1")),
        {("c", "request")},
    ),
    "a value that is no lock": (lambda v: v.client.set(v.keys.of("c").lock, "no lock"), {("c", "data")}),
    "a memo that is none": (lambda v: v.client.set(v.keys.of("c").memo, "no memo"), {("c", "data")}),
    "a last number that is none": (lambda v: v.client.set(v.keys.of("c").last, "two"), {("c", "data")}),
    "a line on no agenda": (lambda v: v.client.zrem(v.agenda, "c"), {("c", "deadline")}),
    "a line that is noted too late": (
        lambda v: v.note(now_ms() + HOUR_MS),
        {("c", "deadline")},
    ),
    "a deadline long past": (
        lambda v: v.line(lambda t: t[0].update(expires=(now_ms() - LATE) / 1000)).note(now_ms() - LATE),
        {("c", "late")},
    ),
    "an event that nobody announced": (
        lambda v: v.memo(outbox=[[1, ["queued", "c", 1, "r1", "", now_ms() - LATE, "", "", "", "", 0, 1, 1]]]).note(1),
        {("c", "outbox")},
    ),
    "a name that the store does not give": (
        lambda v: v.client.set(v.keys.of("c").last.removesuffix(":c") + ":of another", 5),
        {(None, "name")},
    ),
}


@pytest.mark.parametrize("kind", ["redis", "redis-cluster"])
@pytest.mark.parametrize("damage", R)
async def test_in_the_redis_store_each_damage_is_found(
    damage: str, store: LockStore, client: Any, key_prefix: str
) -> None:
    assert isinstance(store, RedisLockStore)
    await stand(store, ("c", 3), ("other", 2))
    spoil, expected = R[damage]
    try:
        assert await found(store) == set()
        spoil(Value(client, store._keys))
        assert await found(store) == expected
    finally:
        client.delete(*client.scan_iter(f"{key_prefix}:*"))


@only_redis
async def test_what_a_rasa_process_leaves_is_no_damage(store: LockStore, client: Any) -> None:
    """It takes its ticket away and grants nothing, and notes its lines nowhere: the next patrol sees to that."""
    assert isinstance(store, RedisLockStore)
    await stand(store, ("c", 3))
    value = Value(client, store._keys)
    value.line(lambda tickets: tickets.pop(0))
    client.zadd(value.agenda, {"c": 0})
    direct = json.dumps({"number": 4, "expires": time.time() + 60})
    client.set(store._keys.of("rasas").lock, json.dumps({"conversation_id": "rasas", "tickets": [direct]}))
    assert await found(store) == set()


# --- stores of values ------------------------------------------------------------------------------------------------


@dict_kinds
async def test_in_a_store_of_ones_own_damage_is_found(store: LockStore) -> None:
    await stand(store, ("c", 2), ("late", 1), ("bad", 1), ("well", 1))
    granted = [Ticket(n, time.time() + 60, Claim("same", 60_000, 1, granted_at_ms=1)) for n in (3, 2)]
    await done(store.save_lock(TicketLock("c", granted)))
    kept = ([1, ["granted", "late", 0, "r0", "", now_ms() - LATE, "", "", "", "", 0, 1, 0, 0]],)
    await done(store.save_lock(TicketLock("late", [Ticket(0, time.time() - LATE / 1000)], None, (), kept)))
    store.server["bad"] = "no lock"  # type: ignore[attr-defined]
    original = store.get_lock

    def reading(name: str) -> Any:
        if name == "bad":
            raise ConversationError("it is no lock")
        return original(name)

    store.get_lock = reading  # type: ignore[method-assign, assignment]
    assert await found(store) == {
        ("c", "numbers"),
        ("c", "holder"),
        ("c", "request"),
        ("late", "late"),
        ("late", "outbox"),
        ("bad", "data"),
    }
    store.server.clear()  # type: ignore[attr-defined]
    store.get_lock = original  # type: ignore[method-assign]


def test_there_is_a_remedy_for_every_rule_and_a_damage_to_each_that_lines_have() -> None:
    assert set(REMEDIES) == set(Rule.__args__)  # type: ignore[attr-defined]
    planted = {rule for damages in (C, R) for _, expected in damages.values() for _, rule in expected}
    assert planted == set(REMEDIES)
    assert AuditFinding("c", "head", "x").remedy == REMEDIES["head"]
