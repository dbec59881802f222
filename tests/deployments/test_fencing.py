"""Numbers only rise and are never given twice, whatever Redis has lost; and where nothing was lost, they do not jump."""

import asyncio
import json
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any, Self, TypeVar

import pytest
import pytest_asyncio
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, run_state_machine_as_test
from redis.crc import key_slot
from redis.exceptions import RedisError

from harness import DaemonProcess, RabbitMQ, RedisCluster, RedisSentinels, RedisServer
from harness.redis_group import REPLICATION_OPTIONS, out_of_sync
from lockstore.core.commands import Command, Expire, Release, Renew, Request
from lockstore.core.events import Event, Granted, Queued
from lockstore.core.rules import Limits
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.stores.base import LockStore
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from tests.conftest import DaemonMaker, shared_config
from tests.deployments.conftest import KINDS, cluster_section, opened, sentinel_section
from tests.stores.clock import KeptClock, hold_redis_time
from tests.stores.line_machine import EVERYTHING, PREFIX, LineMachine, conversation_ids
from tests.support.bot import Bot

T = TypeVar("T")

JUMPED = 10**12  # a number from the clock is higher, and no other is
PATIENCE_S = 60.0
HOUR_MS = 3_600_000

CONVERSATIONS = [f"c{place}" for place in range(6)]
BEFORE, AFTER = CONVERSATIONS[:4], CONVERSATIONS[2:]
"""Whose first numbers are kept, and whose last ones are lost: of two, all that there were."""

kinds = pytest.mark.parametrize("kind", KINDS)
only_redis = pytest.mark.parametrize("kind", ["redis"])
only_concurrent = pytest.mark.parametrize("kind", ["concurrent_redis"])


async def persisted(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call until the store answers, as the daemon does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except StoreUnavailableError:
                await asyncio.sleep(0.05)


def served(outcome: Any) -> list[Event]:
    assert not isinstance(outcome, ConversationError), outcome
    return [notice.event for notice in outcome]


class Numbers:
    """Every number that was given, in the order of giving."""

    def __init__(self) -> None:
        self.given: dict[str, list[int]] = defaultdict(list)
        self._requests = count()

    async def ask(self, store: LockStore, conversations: Sequence[str], times: int = 1) -> None:
        """Ask for tickets that stay in line, as the daemon does and directly."""
        for _ in range(times):
            commands = [Request(name, f"r{next(self._requests)}", 600_000, 600_000) for name in conversations]
            outcomes = await persisted(lambda commands=commands: store.apply(commands))  # type: ignore[misc]
            for command, outcome in zip(commands, outcomes, strict=True):
                told = next(event for event in served(outcome) if event.request_id == command.request_id)
                assert isinstance(told, Queued | Granted)
                assert told.number is not None
                self.given[command.conversation_id].append(told.number)
            for name in conversations:
                self.given[name].append(await persisted(lambda name=name: store.issue_ticket(name, 600)))  # type: ignore[misc]

    def check(self) -> None:
        for name, numbers in self.given.items():
            assert numbers == sorted(set(numbers)), f"{name}: not rising, or given twice: {numbers}"

    @property
    def highest(self) -> int:
        return max(number for numbers in self.given.values() for number in numbers)

    @property
    def last(self) -> set[int]:
        return {numbers[-1] for numbers in self.given.values()}


class Pair:
    """Two servers that take each other's place, under one address: a link in the file system, as a name in DNS can be."""

    def __init__(self) -> None:
        first = RedisServer(REPLICATION_OPTIONS, persistence="no", name="redis-a")
        options = REPLICATION_OPTIONS | {"replicaof": f"{first.host} {first.port}"}
        self.primary, self.replica = first, RedisServer(options, persistence="no", name="redis-b")
        self._link = first.folder / "link"

    async def __aenter__(self) -> Self:
        await self.primary.start()
        self._point()
        await self.replica.start()
        await self.synced()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.replica.close()
        await self.primary.close()

    def section(self, kind: str) -> dict[str, Any]:
        return {"type": kind, "host": f"unix://{self._link}", "key_prefix": f"t{uuid.uuid4().hex[:8]}"}

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._link), db=1)

    def _point(self) -> None:
        new = self._link.with_suffix(".new")
        new.symlink_to(self.primary.admin_socket.path)
        new.replace(self._link)

    async def synced(self) -> None:
        await synced(self.primary, self.replica)

    async def part(self) -> None:
        """Have the replica miss what is written from now on."""
        await part(self.primary, self.replica)

    async def fail_over(self) -> None:
        """Lose the primary, and what only it has."""
        await self.primary.kill()
        self.replica.resume()
        await self.replica.admin("REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary
        self._point()

    async def rejoin(self) -> None:
        """Bring the one that was lost back as a replica, with what the other has."""
        await self.replica.start()
        await self.replica.admin("REPLICAOF", self.primary.host, self.primary.port)
        await self.synced()


async def synced(primary: RedisServer, replica: RedisServer) -> None:
    """Wait until a replica has everything."""
    async with asyncio.timeout(PATIENCE_S):
        while await out_of_sync(primary, [replica]):
            await asyncio.sleep(0.02)
        told = await primary.replication()
        while int((await replica.replication())["master_repl_offset"]) < int(told["master_repl_offset"]):
            await asyncio.sleep(0.02)


async def part(primary: RedisServer, replica: RedisServer) -> None:
    """Have a replica miss what is written from now on; it has to be resumed.

    What is sent to a replica that is paused waits in its socket, and is read later: so its connection has to go, too.
    """
    replica.pause()
    await primary.admin("CLIENT", "KILL", "TYPE", "REPLICA")


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    async with Pair() as servers:
        yield servers


# --- a primary that takes its last writes with it ------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("who", ["the same", "a standby", "a newcomer"])
async def test_a_failover_that_loses_numbers_makes_them_jump(kind: str, who: str, pair: Pair) -> None:
    numbers, section = Numbers(), pair.section(kind)
    async with opened(section) as store, opened(section) as standby:
        await numbers.ask(store, [*CONVERSATIONS[:4], *(f"neighbour {place}" for place in range(200))])
        await pair.synced()
        await pair.part()
        await numbers.ask(store, AFTER, 3)
        assert numbers.highest < JUMPED
        await pair.fail_over()
        async with opened(section) as newcomer:
            goes_on = {"the same": store, "a standby": standby, "a newcomer": newcomer}[who]
            await numbers.ask(goes_on, [*CONVERSATIONS, "later"], 2)
    numbers.check()
    assert all(numbers.given[name][-1] > JUMPED for name in CONVERSATIONS)


@kinds
@pytest.mark.parametrize("who", ["the same", "a standby", "a newcomer"])
async def test_the_very_first_numbers_are_not_given_twice_either(kind: str, who: str, pair: Pair) -> None:
    """With `concurrent_redis`: the first of a shard."""
    numbers, section = Numbers(), pair.section(kind)
    async with opened(section) as store, opened(section) as standby:
        await pair.synced()
        await pair.part()
        await numbers.ask(store, CONVERSATIONS, 3)
        await pair.fail_over()
        async with opened(section) as newcomer:
            goes_on = {"the same": store, "a standby": standby, "a newcomer": newcomer}[who]
            await numbers.ask(goes_on, CONVERSATIONS)
    numbers.check()


@kinds
async def test_two_failovers_in_a_row(kind: str, pair: Pair) -> None:
    numbers = Numbers()
    async with opened(pair.section(kind)) as store:
        await numbers.ask(store, BEFORE)
        for _ in range(2):
            await pair.synced()
            await pair.part()
            await numbers.ask(store, AFTER, 3)
            await pair.fail_over()
            await numbers.ask(store, CONVERSATIONS)
            await pair.rejoin()
        await numbers.ask(store, CONVERSATIONS)
    numbers.check()


@kinds
async def test_a_server_whose_clock_is_behind_that_of_the_one_before(kind: str, pair: Pair) -> None:
    numbers, section = Numbers(), pair.section(kind)
    async with opened(section) as store:
        await numbers.ask(store, CONVERSATIONS)
        await pair.synced()
        await pair.part()
        await pair.fail_over()
        await numbers.ask(store, CONVERSATIONS)
        with pair.client() as client:
            for key in client.scan_iter("*:history"):  # what it would be if this server's clock were an hour ahead
                client.hincrby(key.decode(), "least", HOUR_MS)
        await numbers.ask(store, CONVERSATIONS)
        assert numbers.highest > time.time() * 1000 + HOUR_MS / 2
        await pair.rejoin()
        await pair.part()
        await numbers.ask(store, AFTER, 3)
        await pair.fail_over()
        await numbers.ask(store, CONVERSATIONS, 2)
    numbers.check()


@kinds
async def test_a_writer_that_slept_through_a_failover(kind: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, section = Numbers(), pair.section(kind)
    async with opened(section) as sleeper, opened(section) as other:
        await numbers.ask(sleeper, ["c"])
        await pair.synced()
        asleep = asyncio.Event()
        servers = sleeper._servers  # type: ignore[attr-defined]
        run, run_all = servers.run, servers.run_all

        async def sleep_before(*calls: Any) -> None:
            if {call.script.name for call in calls} & {"issue", "compare_and_set"} and not asleep.is_set():
                asleep.set()  # with its command ready to be sent
                await pair.part()
                await numbers.ask(other, ["c"])
                await pair.fail_over()

        async def slow(call: Any) -> Any:
            await sleep_before(call)
            return await run(call)

        async def slow_all(calls: Any) -> Any:
            await sleep_before(*calls)
            return await run_all(calls)

        monkeypatch.setattr(servers, "run", slow)
        monkeypatch.setattr(servers, "run_all", slow_all)
        numbers.given["c"].append(await persisted(lambda: sleeper.issue_ticket("c", 600)))
        assert asleep.is_set()
    numbers.check()


async def promoted(server: RedisServer) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(RedisError):  # a Sentinel that promotes a server ends its connections
                if (await server.replication())["role"] == "master":
                    return
            await asyncio.sleep(0.05)


class Side:
    """One kind of store, with a daemon and a process that uses it directly."""

    def __init__(self, store: LockStore, daemon: DaemonProcess, bot: Bot) -> None:
        self.numbers = Numbers()
        self.store, self.daemon = store, daemon
        self._bot = bot

    async def ask(self, conversations: Sequence[str]) -> None:
        """Ask the daemon, and then directly."""
        for name in conversations:
            request_id = await self._bot.request(name, wait=600, lifetime=600)
            self.numbers.given[name].append(await self._heard(request_id))
        await self.numbers.ask(self.store, conversations)

    async def _heard(self, request_id: str) -> int:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for answer in self._bot.answers:
                    if answer["request_id"] == request_id:
                        assert answer["type"] in {"granted", "queued"}
                        return int(answer["ticket_number"])
                await asyncio.sleep(0.01)


@asynccontextmanager
async def side(rabbitmq: RabbitMQ, start_daemon: DaemonMaker, section: dict[str, Any]) -> AsyncIterator[Side]:
    namespace = section["key_prefix"]
    config = {"lock_store": section, "broker": {"url": rabbitmq.url, "namespace": namespace}}
    daemon = await start_daemon(config, name=f"daemon-{section['type']}")
    async with opened(section) as store, Bot(rabbitmq.url, namespace) as bot:
        yield Side(store, daemon, bot)


@pytest.mark.slow
async def test_a_failover_by_sentinels_that_loses_numbers(rabbitmq: RabbitMQ, start_daemon: DaemonMaker) -> None:
    async with RedisSentinels() as group, AsyncExitStack() as stack:
        primary, [replica] = await group.primary(), await group.replicas()
        sections = [sentinel_section(kind, group) for kind in KINDS]
        sides = [await stack.enter_async_context(side(rabbitmq, start_daemon, section)) for section in sections]

        async def all_ask(conversations: Sequence[str]) -> None:
            for one in sides:
                await one.ask(conversations)

        await all_ask(BEFORE)
        await synced(primary, replica)
        await part(primary, replica)
        await all_ask(AFTER)
        await primary.kill()
        replica.resume()
        await promoted(replica)
        await all_ask(CONVERSATIONS)
        await all_ask(CONVERSATIONS)
        for one in sides:
            one.numbers.check()
            assert min(one.numbers.last) > JUMPED
            assert one.daemon.events("store.unavailable")


def slot_of(kind: str, section: dict[str, Any], conversation_id: str) -> int:
    """Give the hash slot in which a conversation's numbers are kept."""
    prefix = section["key_prefix"]
    if kind == "redis":
        return RedisKeys(prefix, clustered=True).slot_of(conversation_id)
    keys = ConcurrentKeys(prefix)
    return key_slot(keys.of_line(conversation_id, keys.shard_of(conversation_id))[0].encode())


@pytest.mark.slow
async def test_a_cluster_whose_primary_is_lost_and_whose_slots_move() -> None:
    async with RedisCluster(replicas=1) as cluster, AsyncExitStack() as stack:
        sections = {kind: cluster_section(kind, cluster) for kind in KINDS}
        everybody = {kind: Numbers() for kind in KINDS}
        stores = {kind: await stack.enter_async_context(opened(sections[kind])) for kind in KINDS}
        primary = await cluster.primary_of(slot_of(KINDS[0], sections[KINDS[0]], "c0"))
        replica = await cluster.replica_of(primary)

        # Of each kind some that the primary has, and one of another node.
        names: dict[str, list[str]] = {}
        for kind in KINDS:
            owners = [(f"c{place}", await owner(cluster, kind, sections[kind], f"c{place}")) for place in range(40)]
            names[kind] = [name for name, node in owners if node is primary][:6]
            names[kind] += [name for name, node in owners if node is not primary][:1]

        async def all_ask(places: slice, times: int = 1) -> None:
            for kind in KINDS:
                await everybody[kind].ask(stores[kind], names[kind][places], times)

        await all_ask(slice(4))
        await synced(primary, replica)
        await part(primary, replica)
        await all_ask(slice(2, 7), 3)
        await primary.kill()
        replica.resume()
        await promoted(replica)
        await all_ask(slice(7), 2)
        for kind in KINDS:
            everybody[kind].check()
            assert all(everybody[kind].given[name][-1] > JUMPED for name in names[kind][:6])
            assert everybody[kind].given[names[kind][6]][-1] < JUMPED, "another node has lost nothing"

        # A slot that moves finds other ids at its new node.
        await primary.start()
        await cluster.settle()
        for kind in KINDS:
            name = names[kind][6]
            slot = slot_of(kind, sections[kind], name)
            asking = asyncio.create_task(everybody[kind].ask(stores[kind], [name], 20))
            await cluster.move_slot(slot, replica)
            await asking
            await everybody[kind].ask(stores[kind], [name])
            everybody[kind].check()


async def owner(cluster: RedisCluster, kind: str, section: dict[str, Any], name: str) -> RedisServer:
    return await cluster.primary_of(slot_of(kind, section, name))


# --- a server that starts again ------------------------------------------------------------------------------------------


def standard_section(kind: str, server: RedisServer) -> dict[str, Any]:
    return {"type": kind, "host": server.host, "port": server.port, "key_prefix": f"t{uuid.uuid4().hex[:8]}"}


async def test_a_server_that_comes_back_empty_while_daemons_run(rabbitmq: RabbitMQ, start_daemon: DaemonMaker) -> None:
    async with RedisServer(persistence="no") as server, AsyncExitStack() as stack:
        sections = [standard_section(kind, server) for kind in KINDS]
        sides = [await stack.enter_async_context(side(rabbitmq, start_daemon, section)) for section in sections]
        for one in sides:
            await one.ask(CONVERSATIONS)
        for _ in range(2):
            await server.kill()
            await server.start()
            for one in sides:
                await one.ask([*CONVERSATIONS, "another"])
                one.numbers.check()
                assert all(one.numbers.given[name][-1] > JUMPED for name in CONVERSATIONS)


@kinds
@pytest.mark.parametrize("newcomer", [False, True], ids=["alone", "after a newcomer that begins anew"])
async def test_a_server_that_comes_back_empty_before_a_new_process_has_given_a_number(
    kind: str, *, newcomer: bool
) -> None:
    numbers = Numbers()
    async with RedisServer(persistence="no") as server:
        section = standard_section(kind, server)
        async with opened(section) as before:
            await numbers.ask(before, CONVERSATIONS)
        async with opened(section) as store:
            await server.kill()
            await server.start()
            if newcomer:
                async with opened(section):
                    pass
            await numbers.ask(store, CONVERSATIONS)
    numbers.check()


@kinds
async def test_where_all_is_lost_and_nobody_is_left_who_knows_numbers_begin_anew(kind: str) -> None:
    """A limit: there is nothing to tell it by."""
    numbers = Numbers()
    async with RedisServer(persistence="no") as server:
        section = standard_section(kind, server)
        for _ in range(2):
            async with opened(section) as store:
                await numbers.ask(store, ["c"])
            await server.restart()
    assert numbers.given["c"] == [first(kind), first(kind) + 1] * 2


def first(kind: str) -> int:
    return 1 if kind == "concurrent_redis" else 0


@kinds
async def test_a_server_that_starts_again_with_its_data(kind: str) -> None:
    numbers = Numbers()
    async with RedisServer(persistence="always") as server, opened(standard_section(kind, server)) as store:
        await numbers.ask(store, CONVERSATIONS, 2)
        await server.kill()
        await server.start()
        await numbers.ask(store, CONVERSATIONS, 2)
        await server.restart()
        await numbers.ask(store, [*CONVERSATIONS, "another"], 2)
        line = await persisted(lambda: get_lock(store, "c0"))
    numbers.check()
    assert line is not None
    assert [ticket.number for ticket in line.tickets] == numbers.given["c0"], "somebody has lost his place"


async def get_lock(store: LockStore, name: str) -> TicketLock | None:
    lock = store.get_lock(name)
    return await lock if isinstance(lock, Awaitable) else lock


# --- nothing is lost -----------------------------------------------------------------------------------------------------

TICKETS = 1000


@pytest_asyncio.fixture
async def fresh_server() -> AsyncIterator[RedisServer]:
    async with RedisServer(persistence="no") as server:
        yield server


@kinds
async def test_a_thousand_tickets_have_consecutive_numbers(kind: str, fresh_server: RedisServer) -> None:
    """On a fresh server, from the first one on; with two stores at work, opened again, whose scripts are forgotten."""
    section, limits = standard_section(kind, fresh_server), Limits(dedup_window_ms=500)
    given: list[int] = []
    requests = count()

    async def ask(store: LockStore) -> None:
        ids = [f"r{next(requests)}" for _ in range(20)]
        commands: list[Command] = []
        for request_id in ids:
            commands += [Request("c", request_id, 60_000, 60_000), Release("c", request_id=request_id)]
        outcomes = await store.apply(commands)
        for outcome in outcomes[::2]:
            told = served(outcome)[0]
            assert isinstance(told, Queued | Granted)
            assert told.number is not None
            given.append(told.number)
        for _ in range(5):
            given.append(await store.issue_ticket("c"))
            await store.finish_serving("c", given[-1])

    while len(given) < TICKETS:
        async with opened(section, limits) as one, opened(section, limits) as two:
            for store in (one, two, one, two):
                await ask(store)
            await fresh_server.admin("SCRIPT", "FLUSH")
            await asyncio.gather(ask(one), ask(two))
    assert sorted(given) == list(range(first(kind), first(kind) + len(given)))
    assert len(given) >= TICKETS


@kinds
async def test_daemons_that_come_and_go_make_no_number_jump(
    kind: str, rabbitmq: RabbitMQ, redis_server: RedisServer, start_daemon: DaemonMaker, namespace: str
) -> None:
    config = shared_config(rabbitmq, redis_server, namespace)
    config["lock_store"]["type"] = kind
    active, standby = await start_daemon(config), await start_daemon(config, name="standby")
    given: list[int] = []

    async def ask(bot: Bot) -> None:
        for _ in range(20):
            granted = await bot.lock("c", lifetime=60)
            given.append(granted["ticket_number"])
            await bot.release("c", ticket_number=granted["ticket_number"])

    async with Bot(rabbitmq.url, namespace) as bot:
        await ask(bot)
        await active.kill()
        await ask(bot)
        await redis_server.admin("SCRIPT", "FLUSH")
        await active.start()
        await standby.restart()
        await ask(bot)
    assert given == list(range(first(kind), first(kind) + 60))


@only_concurrent
class TestAShardThatHasNoHistoryYet:
    async def test_begins_with_the_first_number_after_a_request_that_failed(
        self, kind: str, fresh_server: RedisServer
    ) -> None:
        section, numbers = standard_section(kind, fresh_server), Numbers()
        damaged, other = of_one_shard()
        async with opened(section) as store:
            with redis.Redis(host=fresh_server.host, port=fresh_server.port, db=1) as client:
                client.set(line_keys(section, damaged)[4], "not ours")
            [outcome] = await store.apply([Request(damaged, "a", 60_000, 0)])
            assert isinstance(outcome, ConversationError)
            await numbers.ask(store, [other], 2)
        assert numbers.given[other] == [1, 2, 3, 4]

    async def test_goes_on_where_a_version_without_histories_ended(self, kind: str, fresh_server: RedisServer) -> None:
        section, numbers = standard_section(kind, fresh_server), Numbers()
        live: list[Command] = [Request("c", "live", 60_000, 0)]
        async with opened(section) as before:
            await before.apply(live)
        with redis.Redis(host=fresh_server.host, port=fresh_server.port, db=1) as client:
            assert client.delete(line_keys(section, "c")[7]) == 1
        async with opened(section) as store:
            await store.apply(live)  # it is asked again, and finds its ticket
            await numbers.ask(store, ["c"])
        assert numbers.given["c"] == [2, 3]


def line_keys(section: dict[str, Any], name: str) -> tuple[str, ...]:
    keys = ConcurrentKeys(section["key_prefix"])
    return keys.of_line(name, keys.shard_of(name))


def of_one_shard() -> tuple[str, str]:
    """Find two conversations of one shard."""
    first_of: dict[int, str] = {}
    for place in count():
        name = f"c{place}"
        if (before := first_of.setdefault(ConcurrentKeys.shard_of(name), name)) != name:
            return before, name
    raise AssertionError


# --- numbers of thirteen digits ------------------------------------------------------------------------------------------


async def jumped(pair: Pair, store: LockStore, name: str) -> int:
    """Have the numbers of a conversation jump, and give the last one; nobody stands in line then."""
    number = await store.issue_ticket(name)
    await pair.synced()
    await pair.part()
    await pair.fail_over()
    await persisted(lambda: store.finish_serving(name, number))
    number = await store.issue_ticket(name)
    await store.finish_serving(name, number)
    assert len(str(number)) == 13
    return number


@only_redis
async def test_rasa_reads_and_continues_a_line_after_a_jump(kind: str, pair: Pair) -> None:
    section = pair.section(kind)
    async with opened(section) as store:
        last = await jumped(pair, store, "c")
        await store.apply([Request("c", "a", 60_000, 60_000)])
        assert await store.issue_ticket("c") == last + 2
        key = f"{section['key_prefix']}:lock:c"
        with pair.client() as rasa:
            line = json.loads(rasa.get(key) or b"")
            tickets = [json.loads(ticket) for ticket in line["tickets"]]
            assert (line["conversation_id"], [ticket["number"] for ticket in tickets]) == ("c", [last + 1, last + 2])
            assert all(type(ticket["number"]) is int for ticket in tickets)
            # Rasa gives the number that comes after the last one that it sees.
            line["tickets"].append(json.dumps({"number": last + 3, "expires": time.time() + 60}))
            rasa.set(key, json.dumps(line))
        assert await store.issue_ticket("c") == last + 4
        found = await get_lock(store, "c")
    assert found is not None
    assert [ticket.number for ticket in found.tickets] == [last + 1, last + 2, last + 3, last + 4]


@kinds
async def test_such_numbers_are_exact_in_events_tickets_and_what_is_left_behind(kind: str, pair: Pair) -> None:
    async with opened(pair.section(kind)) as store:
        last = await jumped(pair, store, "c")

        async def told(command: Command) -> list[tuple[str, int | None]]:
            [outcome] = await store.apply([command])
            return [(type(event).__name__, event.number) for event in served(outcome)]

        assert await told(Request("c", "a", 60_000, 0)) == [("Granted", last + 1)]
        assert await told(Request("c", "b", 60_000, 60_000)) == [("Queued", last + 2)]
        assert await told(Request("c", "d", 20, 60_000)) == [("Queued", last + 3)]
        assert await told(Renew("c", last + 1)) == [("Renewed", last + 1)]
        assert await told(Release("c", last + 1)) == [("Released", last + 1), ("Granted", last + 2)]
        assert await told(Release("c", last + 1)) == [("Rejected", last + 1)]
        assert await told(Release("c", last + 4)) == [("Rejected", last + 4)]
        direct = await store.issue_ticket("c")
        assert direct == last + 4
        assert await told(Release("c", last + 2)) == [("Released", last + 2), ("Granted", last + 3)]
        await asyncio.sleep(0.05)
        assert await told(Expire("c", last + 3)) == [("Expired", last + 3)]
        turn = await store.turn("c", direct)
        assert (turn.head, turn.in_line) == (direct, True)
        found = await get_lock(store, "c")
        assert found is not None
        assert (found.last_number, [ticket.number for ticket in found.tickets]) == (direct, [direct])
        left = (await store.patrol([store.shard_of("c")], 0)).unannounced
        ours = [(type(notice.event).__name__, notice.event.number) for notice in left]
        assert {number for _, number in ours} == {last + 1, last + 2, last + 3}
        assert ("Expired", last + 3) in ours
        await store.confirm([notice.entry for notice in left if notice.entry is not None])
        assert (await store.patrol([store.shard_of("c")], 0)).unannounced == []
        await store.finish_serving("c", direct)
        assert await get_lock(store, "c") is None


@pytest.fixture
def clock(redis_server: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptClock]:
    with redis.Redis(host=redis_server.host, port=redis_server.port, db=1) as client:
        clock = KeptClock(client, namespace)
        hold_redis_time(clock, monkeypatch)
        yield clock
        clock.close()
        if left := list(client.scan_iter(f"{PREFIX}*")):
            client.delete(*left)


@pytest.mark.slow
def test_python_and_lua_say_the_same_of_such_numbers(redis_server: RedisServer, clock: KeptClock) -> None:
    """See tests/stores/line_machine.py."""
    options = {"host": redis_server.host, "port": redis_server.port, "db": 1}
    seen: set[str] = set()

    class HighGame(LineMachine):
        def __init__(self) -> None:
            super().__init__(options, clock, seen)

        @initialize(conversation_id=conversation_ids)
        def begin(self, conversation_id: str) -> None:
            super().begin(conversation_id)
            keys = self.store._keys.of_line(conversation_id, self.store._keys.shard_of(conversation_id))
            with redis.Redis(host=redis_server.host, port=redis_server.port, db=1) as client:
                client.set(keys[0], clock.start_ms)
            self.lock = TicketLock(conversation_id, None, clock.start_ms)

    many = settings(
        max_examples=60,
        stateful_step_count=50,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(HighGame, settings=many)
    assert seen == EVERYTHING
