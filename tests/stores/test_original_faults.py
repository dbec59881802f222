"""The faults seen in the originals (docs/lock-stores.md counts them), and that none of these stores has them.

Fault 10, credentials that reach the sentinels only, so that the master refuses, is in `tests/deployments/test_sentinel.py`: it
takes servers that want a password.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lockstore.core.commands import Release, Request, Settle
from lockstore.core.events import Granted
from lockstore.errors import ConversationError, LockError
from lockstore.stores.base import LockStore
from tests.stores.clock import Clock
from tests.stores.conftest import OpenStore
from tests.stores.deployments import Deployment
from tests.stores.kinds import own_kinds, redis_kinds
from tests.stores.table import StoreTable, done, first_number

CHECKOUT = Path(__file__).parents[2]
PROCESSES, VISITS = 4, 50


async def start_visitor(section: dict[str, Any]) -> Process:
    argv = ["-m", "tests.stores.visitor", json.dumps(section), str(VISITS)]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, cwd=CHECKOUT, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


@redis_kinds
async def test_fault_1_four_processes_pass_one_by_one_and_none_is_stuck(
    kind: str, section: dict[str, Any], open_store: OpenStore, capsys: pytest.CaptureFixture[str]
) -> None:
    await open_store()
    processes = await asyncio.gather(*(start_visitor(section) for _ in range(PROCESSES)))
    started = time.monotonic()
    outputs = [output for output, _ in await asyncio.gather(*(process.communicate(b"go\n") for process in processes))]
    taken_s = time.monotonic() - started
    with capsys.disabled():
        total = PROCESSES * VISITS
        sys.stdout.write(f"\n{kind}: {total} locks of one conversation, {PROCESSES} processes: {taken_s:.2f} s ")

    visits = sorted((visit for output in outputs for visit in json.loads(output)), key=lambda visit: visit[1])
    assert len(visits) == PROCESSES * VISITS
    overlaps = [(one, other) for one, other in pairwise(visits) if one[2] > other[1]]
    assert overlaps == []
    numbers = [number for number, _, _ in visits]
    assert numbers == sorted(set(numbers))  # entered in the order of their tickets, none given twice


@own_kinds
async def test_fault_2_no_number_comes_again_so_a_late_cleanup_harms_nobody(
    clock: Clock, open_store: OpenStore
) -> None:
    store = await open_store()
    late = await store.issue_ticket("c", 0.5)
    clock.advance(500)
    healthy = await store.issue_ticket("c", 60)
    assert healthy != late
    assert (await store.turn("c", healthy)).head == healthy
    third = await store.issue_ticket("c", 60)
    await store.cleanup("c", late)
    turn = await store.turn("c", third)
    assert (turn.head, turn.in_line) == (healthy, True)


@own_kinds
async def test_fault_3_a_hand_over_takes_a_small_part_of_the_poll(store: LockStore) -> None:
    poll_s, hand_overs = 10.0, 10
    async with store.lock("c"):
        pass  # whatever is only done once
    left_at = [0.0]

    async def visit() -> float:
        async with store.lock("c", 60, poll_s):
            since_s = time.monotonic() - left_at[0]
            await asyncio.sleep(0.002)  # so that the next ones surely wait
            left_at[0] = time.monotonic()
            return since_s

    gaps = await asyncio.gather(*(visit() for _ in range(hand_overs + 1)))
    assert sum(gaps[1:]) / hand_overs < poll_s / 20


@own_kinds
async def test_fault_4_the_lifetime_does_not_run_out_while_waiting(table: StoreTable) -> None:
    await table.say("request a lifetime=60000", "request b lifetime=1000 wait=60000", "after 30000")
    (_, granted) = await table.say("release a")
    assert granted == "granted #1 b: until 31000, waited 30000, behind 0"


@own_kinds
async def test_fault_5_of_many_that_come_at_once_the_first_number_sees_itself_first(open_store: OpenStore) -> None:
    stores = [await open_store()]
    if "Redis" in type(stores[0]).__name__:
        stores += [await open_store() for _ in range(3)]

    async def come(store: LockStore) -> tuple[int, bool]:
        number = await store.issue_ticket("c")
        return number, (await store.turn("c", number)).head == number

    for _ in range(10):
        came = await asyncio.gather(*(come(store) for store in stores * 3))
        assert [number for number, first in came if first] == [min(number for number, _ in came)]
        for number, _ in came:
            await stores[0].cleanup("c", number)


@own_kinds
async def test_fault_6_cleanup_and_issue_may_race(open_store: OpenStore) -> None:
    stores = [await open_store()]
    if "Redis" in type(stores[0]).__name__:
        stores += [await open_store() for _ in range(3)]
    numbers: list[int] = []

    async def come_and_go(store: LockStore) -> None:
        for _ in range(25):
            number = await store.issue_ticket("c")
            numbers.append(number)
            await store.cleanup("c", number)  # of what is the last ticket more often than not

    await asyncio.gather(*(come_and_go(store) for store in stores))
    first = first_number(stores[0])
    assert sorted(numbers) == list(range(first, first + len(numbers)))


@own_kinds
async def test_fault_7_a_star_is_a_conversation_and_not_all_of_them(store: LockStore) -> None:
    await store.issue_ticket("c")
    assert not await store.is_someone_waiting("*")
    async with store.lock("*"):
        pass
    await done(store.delete_lock("*"))
    assert await store.is_someone_waiting("c")


@redis_kinds
async def test_fault_8_no_key_is_searched_for(store: LockStore, deployment: Deployment) -> None:
    for primary in deployment.primaries:
        primary.config_resetstat()
    async with store.lock("c"):
        waiter = asyncio.create_task(_visit(store, "c"))
        await store.apply([Request(f"conversation {place}", "a", 1000, 0) for place in range(20)])
        await store.patrol(store.shards(), 0)
        await store.is_someone_waiting("c")
        await asyncio.sleep(0.05)
    await waiter
    calls = calls_of_commands(deployment)
    assert calls["evalsha"] > 20
    assert not calls.keys() & {"keys", "scan", "hscan", "sscan", "zscan", "hgetall", "smembers"}


def calls_of_commands(deployment: Deployment) -> Counter[str]:
    """Sum over all servers how often each command was run, on a connection or in a script."""
    calls: Counter[str] = Counter()
    for primary in deployment.primaries:
        stats: Any = primary.info("commandstats")
        calls.update({name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()})
    return calls


async def _visit(store: LockStore, conversation_id: str) -> None:
    async with store.lock(conversation_id, 60, 0.01):
        pass


@redis_kinds
async def test_fault_9_what_is_kept_for_a_while_is_kept_for_a_short_while(
    store: LockStore, client: Any, key_prefix: str
) -> None:
    commands = [
        command
        for place in range(5)
        for command in (
            Request(f"idle {place}", "a", 1000, 0),
            Release(f"idle {place}", request_id="a"),
            Release(f"early {place}", request_id="a"),
        )
    ]
    await store.apply(commands)
    async with store.lock("direct", 10**6):
        lives_ms = [client.pttl(key) for key in client.scan_iter(f"{key_prefix}:*")]
    longest_ms = max(store.limits.dedup_window_ms, store.limits.history_keep_ms)
    assert any(life_ms > 0 for life_ms in lives_ms)
    assert all(life_ms == -1 or 0 < life_ms <= longest_ms for life_ms in lives_ms)


@own_kinds
async def test_fault_11_a_nested_lock_ends_with_its_expiry(store: LockStore) -> None:
    started = time.monotonic()
    async with store.lock("c", 3600):
        with pytest.raises(LockError):
            async with store.lock("c", 0.1, wait_time_in_seconds=3600):
                pytest.fail("two inside")
    assert time.monotonic() - started < 3600 / 100


@own_kinds
async def test_fault_11_or_enters_when_the_outer_one_ends(store: LockStore) -> None:
    started = time.monotonic()
    async with store.lock("c", 0.1) as outer, store.lock("c", 3600, wait_time_in_seconds=3600) as inner:
        assert inner.tickets[0].number == outer.tickets[0].number + 1
    assert time.monotonic() - started < 3600 / 100


@own_kinds
async def test_two_daemons_grant_a_ticket_once(open_store: OpenStore) -> None:
    stores = [await open_store()]
    if "Redis" in type(stores[0]).__name__:
        stores.append(await open_store())
    await stores[0].apply([Request("c", "a", 60_000, 0), Request("c", "b", 60_000, 60_000)])
    released, *settled = await asyncio.gather(
        stores[0].apply([Release("c", request_id="a")]), *(store.apply([Settle("c")]) for store in stores * 3)
    )
    granted = []
    for (outcome,) in (released, *settled):
        assert not isinstance(outcome, ConversationError)
        granted += [notice.event.request_id for notice in outcome if isinstance(notice.event, Granted)]
    assert granted == ["b"]
