"""A Redis Cluster: finding its nodes, slots that move and primaries that are lost, both under load."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from redis.crc import key_slot

from harness import RedisCluster, RedisServer
from harness.ports import free_port
from lockstore.core.commands import Command, Release, Request
from lockstore.core.line import Limits
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore
from lockstore.stores.redis.connection.round_trip import RoundTrip
from lockstore.stores.redis.connection.topology import Node
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from tests.deployments.conftest import KINDS, ServedMaker, cluster_section, opened
from tests.deployments.load import Served

BATCH = 100
TOGETHER = 20  # requests of one line in one batch: with as many releases they don't fit into one read of Redis (16 KiB)
MOVES_LEAST, MOVES_MOST = 12, 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster() -> AsyncIterator[RedisCluster]:
    """Three primaries without replicas, whose slots these tests move about."""
    async with RedisCluster() as group:
        yield group


@pytest_asyncio.fixture
async def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    """The same without a key: those of another test in a slot would move in place of this one's."""
    for node in shared_cluster.nodes:
        await node.admin("FLUSHALL")
    return shared_cluster


def slot_of(section: dict[str, Any], conversation: str) -> int:
    """Give the hash slot of a conversation's keys."""
    prefix = str(section["key_prefix"])
    if section["type"] == "redis":
        return key_slot(RedisKeys(prefix, clustered=True).of(conversation).lock.encode())
    return key_slot(str(ConcurrentKeys.shard_of(conversation)).encode())


async def primaries(group: RedisCluster) -> list[RedisServer]:
    """Give the nodes that have slots, as long as those at the ends and in the middle of the range do not move."""
    owners = [await group.primary_of(slot) for slot in (0, 8191, 16383)]
    assert len(set(owners)) == 3
    return owners


async def statistic(nodes: Sequence[RedisServer], section: str, field: str) -> Counter[str]:
    """Add up what the nodes have counted: `errorstat` errors by their code, `cmdstat` commands by their name."""
    found: Counter[str] = Counter()
    for node in nodes:
        for line in (await node.admin("INFO", section)).splitlines():
            name, _, values = line.partition(":")
            if name.startswith(f"{field}_"):
                found[name.removeprefix(f"{field}_")] += int(values.partition("=")[2].partition(",")[0])
    return found


async def errors(nodes: Sequence[RedisServer]) -> Counter[str]:
    return await statistic(nodes, "errorstats", "errorstat")


async def calls(nodes: Sequence[RedisServer]) -> Counter[str]:
    return await statistic(nodes, "commandstats", "cmdstat")


async def numbers(store: LockStore, commands: Sequence[Command]) -> list[int]:
    """Apply commands, and give the numbers that are told of, in order."""
    told: list[int] = []
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)
        told += [notice.event.number for notice in outcome if notice.event.number is not None]
    return told


# --- finding the nodes -------------------------------------------------------------------------------------------------


def dead_first(endpoints: list[str]) -> dict[str, Any]:
    return {"endpoints": [f"127.0.0.1:{free_port()}", *endpoints]}


def dead_first_with_commas(endpoints: list[str]) -> dict[str, Any]:
    return {"endpoints": ", ".join([f"127.0.0.1:{free_port()}", endpoints[0]])}


def host_and_port(endpoints: list[str]) -> dict[str, Any]:
    host, port = endpoints[1].split(":")
    return {"endpoints": None, "host": host, "port": int(port)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [dead_first, dead_first_with_commas, host_and_port])
async def test_the_nodes_are_found(
    way: Callable[[list[str]], dict[str, Any]], kind: str, cluster: RedisCluster
) -> None:
    section = cluster_section(kind, cluster, **way(cluster.endpoints))
    conversations = [f"c{place}" for place in range(30)]
    owners = {await cluster.primary_of(slot_of(section, conversation)) for conversation in conversations}
    assert owners == set(await primaries(cluster))
    async with opened(section) as store:
        first = await numbers(store, [Request(conversation, "a", 60_000, 0) for conversation in conversations])
    assert len(first) == len(conversations)
    assert len(set(first)) == 1


# --- one round trip ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("conversations", "transactions"), [(BATCH, 0), (BATCH // 2, BATCH // 2)])
async def test_a_batch_takes_one_exchange_with_each_primary(
    conversations: int, transactions: int, cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = await primaries(cluster)
    async with opened(cluster_section("concurrent_redis", cluster)) as store:
        exchanges = watched(monkeypatch)
        before = await calls(nodes)
        asked = [Request(f"c{place % conversations}", f"r{place}", 60_000, 60_000) for place in range(BATCH)]
        assert len(await numbers(store, asked)) == BATCH
        made = await calls(nodes) - before
        assert sorted(exchanges.values()) == [1, 1, 1]
        assert (made["evalsha"], made["exec"]) == (BATCH, transactions)
        exchanges.clear()
        await store.patrol(store.shards(), 0)
        assert sorted(exchanges.values()) == [1, 1, 1]


async def test_many_lines_are_read_in_one_exchange_with_each_primary(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store of single values, which changes them one by one."""
    async with opened(cluster_section("redis", cluster)) as store:
        names = [f"c{place}" for place in range(BATCH)]
        await store.apply([Request(name, "a", 60_000, 0) for name in names])
        exchanges = watched(monkeypatch)
        assert len(await store.read_all(names)) == BATCH
        assert sorted(exchanges.values()) == [1, 1, 1]


def watched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the exchanges with each server from now on."""
    exchanges: Counter[str] = Counter()
    exchange = RoundTrip.commands

    async def counted(self: RoundTrip, place: Node, commands: Any) -> list[Any]:
        exchanges[place.name] += 1
        return await exchange(self, place, commands)

    monkeypatch.setattr(RoundTrip, "commands", counted)
    return exchanges


# --- slots that move ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_slots_move_under_load(kind: str, cluster: RedisCluster, serve: ServedMaker) -> None:
    section = cluster_section(kind, cluster)
    nodes = await primaries(cluster)
    before = await errors(nodes)
    began = time.monotonic()
    async with opened(section) as store, serve(section, store=store) as side:
        await side.load.until(5)
        for moves in count(1):
            conversation = side.load.conversations[moves % len(side.load.conversations)]
            await move(cluster, slot_of(section, conversation), nodes)
            seen = await errors(nodes) - before
            if moves >= MOVES_LEAST and all(seen[code] for code in ("MOVED", "ASK", "TRYAGAIN")):
                break
            assert moves < MOVES_MOST, seen
        await side.load.until(5)
        await side.finish()
    told = {code: number for code, number in seen.items() if code in ("MOVED", "ASK", "TRYAGAIN")}
    print(f"{kind}: {moves} moves in {time.monotonic() - began:.1f} s, {told}")
    assert not side.daemon.events("store.unavailable"), "a slot that moves is no outage"


async def move(group: RedisCluster, slot: int, nodes: Sequence[RedisServer]) -> None:
    """Move a slot to the next node, and stop half way until somebody has come to want all of its keys."""
    source = await group.primary_of(slot)
    before = await errors(nodes)

    async def half_way() -> None:
        with suppress(TimeoutError):  # where those that are wanted are still together
            async with asyncio.timeout(1):
                while (await errors(nodes) - before)["TRYAGAIN"] < 3:
                    await asyncio.sleep(0.05)

    await group.move_slot(slot, nodes[(nodes.index(source) + 1) % len(nodes)], between=half_way)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_ends_a_line_is_not_broken_off_by_the_beginning_of_a_move(kind: str, cluster: RedisCluster) -> None:
    """A node that gives a slot away takes what is no longer there for gone: also what a script itself has just deleted."""
    section = cluster_section(kind, cluster)
    slot = slot_of(section, "c")
    source = await cluster.primary_of(slot)
    target = next(node for node in cluster.nodes if node is not source)
    async with opened(section, Limits(dedup_window_ms=60_000)) as store:
        for name in "ab":
            await store.apply(
                [Request("c", name, 60_000, 0), *([Release("c", request_id=name)] if name == "a" else [])]
            )
        await target.admin("CLUSTER", "SETSLOT", slot, "IMPORTING", await source.admin("CLUSTER", "MYID"))
        await source.admin("CLUSTER", "SETSLOT", slot, "MIGRATING", await target.admin("CLUSTER", "MYID"))
        # No key has moved yet, and there is one of each.
        ending = asyncio.create_task(store.apply([Release("c", request_id="b"), Request("c", "c", 60_000, 0)]))
        await asyncio.wait([ending], timeout=0.3)
        for node in (target, source):
            await node.admin("CLUSTER", "SETSLOT", slot, "STABLE")
        events = [type(notice.event).__name__ for outcome in await ending for notice in told(outcome)]
        assert events == ["Released", "Granted"]
        left = (await store.patrol(store.shards(), 0)).unannounced
        assert [type(notice.event).__name__ for notice in left][-2:] == ["Released", "Granted"]


class OneLine:
    """Batches for one line, each of which ends what the one before began; and looks at the line beside them."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.looks = 0
        self.done = False

    async def work(self, store: LockStore) -> None:
        for turn in count(1):
            ends: list[Command] = [Release("c", request_id=f"{turn - 1}.{place}") for place in range(TOGETHER)]
            begins = [Request("c", f"{turn}.{place}", 60_000, 60_000) for place in range(TOGETHER)]
            outcomes = await store.apply([*ends, *begins])
            mine = [told(outcome)[-1].event.number for outcome in outcomes[TOGETHER:]]
            assert mine == list(range(mine[0], mine[0] + TOGETHER)), "not all, or not in order"
            self.given += mine
            if self.done:
                return

    async def look(self, store: LockStore) -> None:
        while not self.done:
            tickets = (await store.get_or_create_lock("c")).tickets
            turns = Counter(ticket.claim.request_id.partition(".")[0] for ticket in tickets if ticket.claim)
            assert list(turns.values()) in ([], [TOGETHER]), f"a batch that is half done: {turns}"
            self.looks += 1
            await asyncio.sleep(0.001)

    async def until_more(self) -> None:
        wanted = len(self.given) + 2 * TOGETHER
        while len(self.given) < wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_one_line_take_effect_together_while_its_slot_moves(kind: str, cluster: RedisCluster) -> None:
    section = cluster_section(kind, cluster)
    nodes = await primaries(cluster)
    before = await errors(nodes)
    line = OneLine()
    async with opened(section) as worker, opened(section) as watcher, asyncio.TaskGroup() as tasks:
        tasks.create_task(line.work(worker))
        await line.until_more()
        tasks.create_task(line.look(watcher))
        for _ in range(6):
            await line.until_more()
            await move(cluster, slot_of(section, "c"), nodes)
        await line.until_more()
        line.done = True
    assert line.given == sorted(set(line.given))
    seen = await errors(nodes) - before
    print(f"{kind}: {len(line.given) // TOGETHER} batches, {line.looks} looks at the line, {dict(seen)}")
    assert seen["TRYAGAIN"]


def told(outcome: Any) -> Any:
    assert not isinstance(outcome, ConversationError)
    return outcome


# --- primaries that are lost -------------------------------------------------------------------------------------------

Hurt = Callable[[RedisCluster, RedisServer], Awaitable[None]]


async def killed(group: RedisCluster, primary: RedisServer) -> None:
    await primary.kill()


async def paused(group: RedisCluster, primary: RedisServer) -> None:
    primary.pause()


async def replaced(group: RedisCluster, primary: RedisServer) -> None:
    """Have a replica take its place while both run (CLUSTER FAILOVER)."""
    await group.failover(await group.replica_of(primary))


@pytest.mark.slow
@pytest.mark.parametrize("hurt", [killed, paused, replaced])
async def test_a_primary_is_lost_under_load(hurt: Hurt, serve: ServedMaker) -> None:
    """With replicas that are waited for, so that nothing which was announced can be lost."""
    async with RedisCluster(replicas=2, node_timeout_ms=1_000) as group, AsyncExitStack() as stack:
        sections = [cluster_section(kind, group, wait_replicas=1) for kind in KINDS]
        sides = [await stack.enter_async_context(serve(section)) for section in sections]
        for side in sides:
            await side.load.until(5)
        primary = await shared_primary(group, sections, sides)
        await lose(group, primary, hurt, sides)
        await flush_scripts([node for node in group.nodes if node is not primary], sides)
        if not primary.running:
            await primary.start()
        primary.resume()
        await group.settle()
        for side in sides:
            await side.load.until(3)
            await side.finish()


async def shared_primary(
    group: RedisCluster, sections: Sequence[dict[str, Any]], sides: Sequence[Served]
) -> RedisServer:
    """Give a primary at which each of the stores has a conversation."""
    owners = [
        {await group.primary_of(slot_of(section, conversation)) for conversation in side.load.conversations}
        for section, side in zip(sections, sides, strict=True)
    ]
    return min(set.intersection(*owners), key=lambda node: node.name)


async def lose(group: RedisCluster, primary: RedisServer, hurt: Hurt, sides: Sequence[Served]) -> None:
    """Hurt a primary, and measure when another has its place, and when all conversations were entered again."""
    began = time.monotonic()
    await hurt(group, primary)
    entering = [asyncio.create_task(side.load.until(1)) for side in sides]
    await group.settle()
    settled = time.monotonic()
    await asyncio.gather(*entering)
    later = time.monotonic() - settled
    print(
        f"{hurt.__name__}: the cluster took {settled - began:.2f} s; all were entered again {later:+.2f} s after that"
    )


async def flush_scripts(nodes: Sequence[RedisServer], sides: Sequence[Served]) -> None:
    """Have the nodes forget all scripts, under load."""
    before = await errors(nodes)
    for node in nodes:
        await node.admin("SCRIPT", "FLUSH")
    for side in sides:
        await side.load.until(2)
    missed = (await errors(nodes) - before)["NOSCRIPT"]
    print(f"NOSCRIPT {missed} times")
    assert missed
