"""`wait_replicas`: what no replica has is not announced, to nobody and by no way; and when it is there, all of it is."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from redis.crc import key_slot

from harness import RabbitMQ, RedisCluster, RedisServer
from harness.redis_group import REPLICATION_OPTIONS
from lockstore.core.commands import Command, Release, Request
from lockstore.core.events import Event
from lockstore.core.line import Limits
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from lockstore.stores.redis.connection import topology
from lockstore.stores.redis.connection.round_trip import RoundTrip
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from lockstore.stores.results import LEFT_BEHIND_MS
from tests.conftest import DaemonMaker
from tests.deployments.conftest import KINDS, cluster_section, opened
from tests.support.bot import Bot
from tests.support.public import Public

T = TypeVar("T")

WAIT_MS = 600
WAITS = {"wait_replicas": 1, "wait_replicas_timeout_ms": WAIT_MS}
PATIENT = {"wait_replicas": 1, "wait_replicas_timeout_ms": 20_000}  # where no replica is away: a busy one is waited for
SAID = "the last writes have reached 0 replicas, and 1 are required"
PATIENCE_S = 30.0

kinds = pytest.mark.parametrize("kind", KINDS)


@dataclass(frozen=True)
class Servers:
    """A primary and its replica."""

    primary: RedisServer
    replica: RedisServer

    async def synced(self) -> None:
        """Wait until the replica has said that it has everything."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = await self.primary.replication()
                if f"state=online,offset={told['master_repl_offset']}," in told.get("slave0", ""):
                    return
                await asyncio.sleep(0.02)

    def section(self, kind: str, prefix: str, **options: Any) -> dict[str, Any]:
        return {"type": kind, "host": self.primary.host, "port": self.primary.port, "key_prefix": prefix, **options}


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[Servers]:
    async with RedisServer(REPLICATION_OPTIONS, persistence="no", name="primary") as primary:
        options = REPLICATION_OPTIONS | {"replicaof": f"{primary.host} {primary.port}"}
        async with RedisServer(options, persistence="no", name="replica") as replica:
            both = Servers(primary, replica)
            await primary.admin(
                "SET", "anything", 1
            )  # what is sent after the whole comes only when that is acknowledged
            await both.synced()
            yield both
            replica.resume()


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


async def persisted(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call until the store answers, as the daemon does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except StoreUnavailableError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def waiting(section: dict[str, Any]) -> AsyncIterator[LockStore]:
    """Open a store that waits for a replica; that may be late on a busy machine, and the daemon would try again, too."""
    store = create_store(section, Limits())
    try:
        await persisted(store.open)
        yield store
    finally:
        await store.close()


async def until(holds: Callable[[], bool], otherwise: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(otherwise) from None


def served(outcome: Any) -> list[Event]:
    assert not isinstance(outcome, ConversationError), outcome
    return [notice.event for notice in outcome]


async def line_of(store: LockStore, name: str) -> TicketLock:
    lock = store.get_lock(name)
    return (await lock if isinstance(lock, Awaitable) else lock) or TicketLock(name)


# --- daemons -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@kinds
async def test_nothing_is_announced_before_the_replica_has_it(
    kind: str, servers: Servers, rabbitmq: RabbitMQ, start_daemon: DaemonMaker, prefix: str
) -> None:
    config = {
        "lock_store": servers.section(kind, prefix, **WAITS),
        "broker": {"url": rabbitmq.url, "namespace": prefix},
    }
    daemons = [await start_daemon(config), await start_daemon(config, name="standby")]
    async with (
        Public(rabbitmq.url, prefix) as public,
        Bot(rabbitmq.url, prefix) as bot,
        opened(servers.section(kind, prefix)) as hasty,
    ):
        held = await bot.lock("held", request_id="before")
        await bot.request("held", "next", wait=60)
        await bot.expect("queued", request_id="next")
        await until(lambda: len(public.events) == 2, "not everything was told to the public")

        servers.replica.pause()
        heard, told, announced = len(bot.answers), len(public.events), public.announced
        # What is at the primary, and nowhere else, with no daemon under way that could announce it: left behind.
        await hasty.apply([Request("left", "left behind", 60_000, 0)])
        await bot.release("held", ticket_number=held["ticket_number"])
        await bot.request("other", "new")
        await asyncio.sleep(LEFT_BEHIND_MS / 1000 + 2)
        assert (len(bot.answers), len(public.events), public.announced) == (heard, told, announced)
        for daemon in daemons:
            assert {line["error"] for line in daemon.events("store.unavailable")} == {SAID}
        if kind == "concurrent_redis":  # the other store finds out before it writes
            [ticket] = (await line_of(hasty, "held")).tickets
            assert ticket.number != held["ticket_number"], "not even the primary has it: the test showed nothing"

        servers.replica.resume()
        await bot.expect("granted", request_id="next")
        await bot.expect("granted", request_id="new")
        wanted = {"before", "next", "new", "left behind"}
        await until(lambda: wanted == {event["request_id"] for event in public.of("granted")}, "a grant got lost")
        for daemon in daemons:
            await until(lambda daemon=daemon: bool(daemon.events("store.available")), "still unavailable")  # type: ignore[misc]
        await bot.release("held", request_id="next")
        await bot.release("other", request_id="new")
        await public.until_ended({"before", "next", "new"})
        public.check()
        told_of = [(event["type"], event["request_id"]) for event in public.events.values()]
        assert len(told_of) == len(set(told_of)), "one event under two ids"
    print(f"{kind}: {len(public.events)} events, announced {public.announced} times")


@kinds
async def test_a_lease_runs_while_its_grant_waits_to_be_announced(
    kind: str, servers: Servers, rabbitmq: RabbitMQ, start_daemon: DaemonMaker, prefix: str
) -> None:
    section = servers.section(kind, prefix, **WAITS)
    await start_daemon({"lock_store": section, "broker": {"url": rabbitmq.url, "namespace": prefix}})
    async with Public(rabbitmq.url, prefix) as public, Bot(rabbitmq.url, prefix) as bot:
        await bot.request("c", "holder", lifetime=60)
        held = await bot.expect("granted", request_id="holder")
        await bot.request("c", "short", lifetime=0.5, wait=60)
        await bot.request("c", "next", lifetime=60, wait=60)
        await bot.expect("queued", request_id="next")
        servers.replica.pause()
        await bot.release("c", ticket_number=held["ticket_number"])
        await asyncio.sleep(1.5)
        assert not public.ended()
        servers.replica.resume()
        granted = await bot.expect("granted", request_id="next")
        await bot.release("c", ticket_number=granted["ticket_number"])
        await public.until_ended({"holder", "short", "next"})
        public.check()
        assert {event["request_id"] for event in public.of("expired")} == {"short"}
        assert {event["request_id"] for event in public.of("granted")} == {"holder", "short", "next"}


# --- direct use ----------------------------------------------------------------------------------------------------------


@kinds
async def test_a_direct_lock_is_not_entered_before_the_replica_has_it(kind: str, servers: Servers, prefix: str) -> None:
    entered: list[str] = []

    async def enter(store: LockStore, name: str, lifetime_s: float) -> None:
        async with store.lock(name, lifetime_s, 0.05) as lock:
            entered.append(name)
            assert lock.tickets

    async with (
        opened(servers.section(kind, prefix)) as hasty,
        waiting(servers.section(kind, prefix, **WAITS)) as store,
    ):
        await persisted(lambda: enter(store, "free", 2))
        async with hasty.lock("held"):
            waiter = asyncio.create_task(enter(store, "held", 60))
            while len((await line_of(hasty, "held")).tickets) < 2:
                await asyncio.sleep(0.01)
            servers.replica.pause()
        # Its turn has come, and it was told so; at the primary alone.
        with pytest.raises(StoreUnavailableError, match=SAID):
            await waiter
        began = time.monotonic()
        for name in ("free", "new"):
            with pytest.raises(StoreUnavailableError, match=SAID):
                await enter(store, name, 2)
        assert time.monotonic() - began < 2 * WAIT_MS / 1000 + 5
        assert entered == ["free"]
        servers.replica.resume()
        async with asyncio.timeout(PATIENCE_S):
            for name in ("free", "new"):
                # Behind the ticket of the call that was refused, until its lifetime is over.
                await persisted(lambda name=name: enter(store, name, 60))  # type: ignore[misc]
    assert entered == ["free", "free", "new"]


# --- a cluster -----------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[RedisCluster]:
    async with RedisCluster(replicas=1) as group:
        yield group


async def spread(cluster: RedisCluster, section: dict[str, Any]) -> dict[RedisServer, list[str]]:
    """Find two conversations on each node."""
    values, keys = RedisKeys(section["key_prefix"], clustered=True), ConcurrentKeys(section["key_prefix"])
    names: dict[RedisServer, list[str]] = {node: [] for node in cluster.nodes[:3]}
    for place in range(60):
        name = f"c{place}"
        slot = values.slot_of(name)
        if section["type"] == "concurrent_redis":
            slot = key_slot(keys.of_line(name, keys.shard_of(name))[0].encode())
        names[await cluster.primary_of(slot)].append(name)
    return {node: found[:2] for node, found in names.items()}


async def left_behind(store: LockStore) -> list[Event]:
    return [notice.event for notice in (await store.patrol(store.shards(), 0)).unannounced]


@pytest.mark.slow
@kinds
async def test_a_batch_over_three_nodes_waits_for_the_replica_of_each(kind: str, cluster: RedisCluster) -> None:
    section = cluster_section(kind, cluster, **WAITS)
    async with waiting(section) as store, opened(section | {"wait_replicas": 0}) as hasty:
        names = await spread(cluster, section)
        node, *others = names
        everywhere = [name for found in names.values() for name in found]
        elsewhere = [name for other in others for name in names[other]]
        assert len(everywhere) == 6
        asked: list[Command] = [Request(name, "before", 60_000, 0) for name in everywhere]
        before = await persisted(lambda: store.apply(asked))
        assert [type(event).__name__ for outcome in before for event in served(outcome)] == ["Granted"] * 6

        replica = await cluster.replica_of(node)
        replica.pause()
        more: list[Command] = [Request(name, "next", 60_000, 60_000) for name in elsewhere]
        queued = await persisted(lambda: store.apply(more))
        assert [type(event).__name__ for outcome in queued for event in served(outcome)] == ["Queued"] * 4
        batch: list[Command] = [Release(name, request_id="before") for name in everywhere]
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match=SAID):
                await store.apply(batch)
        with pytest.raises(StoreUnavailableError, match=SAID):
            async with store.lock(names[node][0]):
                pytest.fail("entered")
        # What somebody left behind there is not found, either.
        await hasty.apply([Request(names[node][1], "left", 60_000, 60_000)])
        with pytest.raises(StoreUnavailableError, match=SAID):
            await left_behind(store)

        replica.resume()
        again = await persisted(lambda: store.apply(batch))
        assert not any(isinstance(outcome, ConversationError) for outcome in again)
        found = await persisted(lambda: left_behind(store))
        told = {(type(event).__name__, event.conversation_id, event.request_id) for event in found}
    assert {("Released", name, "before") for name in everywhere} <= told
    assert {("Granted", name, "next") for name in elsewhere} <= told


# --- why a batch ends with a mark ----------------------------------------------------------------------------------------


def without_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have WAIT follow whatever the batch has written, or has not."""
    parts = RoundTrip.parts

    async def unmarked(self: RoundTrip, place: Any, given: Any, last: Sequence[Any]) -> Any:
        return await parts(self, place, given, [words for words in last if words[0] != "SET"])

    monkeypatch.setattr(RoundTrip, "parts", unmarked)


class Occupied:
    """Has the store's connection to its one server taken by somebody else, whenever the replicas are to be waited for."""

    def __init__(self, store: LockStore, monkeypatch: pytest.MonkeyPatch) -> None:
        servers = store._servers  # type: ignore[attr-defined]
        self._place = servers._deployment._node
        replicated = servers.replicated

        async def on_another(keys: Any) -> None:
            taken = self._place.take()
            try:
                await replicated(keys)
            finally:
                await self._place.give_back(taken)

        monkeypatch.setattr(servers, "replicated", on_another)

    async def have_two(self) -> None:
        """Have two idle connections, on which a command was done."""
        for connection in [self._place.take() for _ in range(2)]:
            await self._place.ensure(connection)
            await connection.send_command("PING")
            await connection.read_response()
            await self._place.give_back(connection)


@pytest.mark.parametrize("end", ["a mark", "no mark"])
@kinds
async def test_without_a_mark_an_older_connection_takes_for_replicated_what_it_has_not_written(
    kind: str, end: str, servers: Servers, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WAIT asks for the last write that its own connection knows of, and that one may be long past."""
    monkeypatch.setattr(topology, "_IDLE_S", 60.0)  # any command, a PING too, brings that up to date
    async with (
        opened(servers.section(kind, prefix)) as hasty,
        waiting(servers.section(kind, prefix, **WAITS)) as store,
    ):
        await Occupied(store, monkeypatch).have_two()
        await servers.synced()
        servers.replica.pause()
        await hasty.apply([Request("c", "left behind", 60_000, 0)])
        if end == "a mark":
            with pytest.raises(StoreUnavailableError, match=SAID):
                await left_behind(store)
            return
        without_the_mark(monkeypatch)
        if kind == "concurrent_redis":
            [violation] = await left_behind(store)
            assert violation.request_id == "left behind"
        else:  # a patrol of this store writes on its agenda, and waits for that
            await store._servers.replicated([RedisKeys(prefix).of("c").lock])  # type: ignore[attr-defined]


@kinds
async def test_a_retry_on_another_connection_waits_although_nothing_is_left_to_write(
    kind: str, servers: Servers, prefix: str
) -> None:
    section = servers.section(kind, prefix, **WAITS)
    async with waiting(section) as one, waiting(section) as two, opened(servers.section(kind, prefix)) as hasty:
        commands: list[Command] = [Request("c", "a", 60_000, 0)]
        await persisted(lambda: two.apply([Request("d", "a", 60_000, 0)]))  # so it has a connection
        servers.replica.pause()
        await hasty.apply(commands)  # as a daemon that was killed before it could wait
        for store in (one, two, one):
            with pytest.raises(StoreUnavailableError, match=SAID):
                await store.apply(commands)
        with pytest.raises(StoreUnavailableError, match=SAID):
            await two.apply([Release("c", 999)])
        servers.replica.resume()
        for store in (one, two):
            [outcome] = await persisted(lambda store=store: store.apply(commands))  # type: ignore[misc]
            [event] = served(outcome)
            assert event.repeated


@kinds
async def test_a_full_primary_is_waited_for_too(kind: str, servers: Servers, prefix: str) -> None:
    async with opened(servers.section(kind, prefix, **PATIENT)) as store:
        await store.apply([Request("c", "a", 60_000, 0)])
        await servers.primary.admin("CONFIG", "SET", "maxmemory", "1")
        try:
            [outcome] = await store.apply([Release("c", request_id="a")])
        finally:
            await servers.primary.admin("CONFIG", "SET", "maxmemory", "0")
        assert not isinstance(outcome, ConversationError)
        assert [type(notice.event).__name__ for notice in outcome] == ["Released"]
