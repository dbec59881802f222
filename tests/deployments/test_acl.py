"""The ACL rules of docs/redis.md are exact: they are enough, each word of them is needed, and nothing else is granted."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import NoPermissionError, ResponseError

from harness import RabbitMQ, RedisCluster, RedisSentinels, RedisServer, Watch
from harness.redis_group import REPLICATION_OPTIONS, out_of_sync
from harness.redis_server import AdminSocket
from lockstore.core.commands import Command, Expire, Release, Renew, Request, Settle, Withdraw
from lockstore.core.rules import Limits
from lockstore.core.ticket import Sender
from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.stores.audit import AuditFinding
from lockstore.stores.base import LockStore
from lockstore.stores.maybe_async import call_maybe_async
from lockstore.stores.redis.concurrent import store as concurrent
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.keys import RedisKeys
from lockstore.stores.redis.rasa import store as redis_store
from lockstore.stores.results import Entry
from tests.conftest import DaemonMaker
from tests.docs.pages import CHECKOUT, section
from tests.support.bot import Bot

PAGE = CHECKOUT / "docs" / "redis.md"

KINDS = ["concurrent_redis", "redis"]
# Redis 7.0, then Redis 8 and Valkey.
NO_KEY = "no permissions to access one of the keys|No permissions to access a key"
NO_CHANNEL = "no permissions to access one of the channels|No permissions to access a channel"

USES = ["direct", "daemon"]
PREFIX = "mybot"  # as the page has it
BOSS = "boss"  # who may do everything, and knows no other password
HOLD_MS = 60_000
PATIENCE_S = 20.0

Words = tuple[str, ...]


# --- the page --------------------------------------------------------------------------------------------------------


def shown(heading: str) -> list[Words]:
    """Give the rules below a heading, each as the words behind the user's name."""
    rules = []
    for block in re.findall(r"^```text\n(.*?)^```$", section(PAGE, heading), re.MULTILINE | re.DOTALL):
        words: list[str] = []
        for line in block.splitlines():
            before, word = line.split(" ", 3)[:3], line.split()[3:]
            assert before == ["ACL", "SETUSER", "mybot"], line
            words += word
        rules.append(tuple(words))
    return rules


SELECT, CLUSTER, CLUSTER_REDIS, WAIT = shown("What a deployment adds")
[SENTINEL] = shown("At the Sentinels")


def rule(kind: str, use: str) -> Words:
    """Give the rule for a store and its use, without what the deployment adds."""
    direct, daemon, *_ = shown(f"With `{kind}`")
    return direct + (daemon if use == "daemon" else ())


def doctors_rule(kind: str) -> tuple[Words, Words]:
    """Give the rule for the daemon, and what an audit needs besides."""
    _, _, *doctor = shown(f"With `{kind}`")
    return rule(kind, "daemon"), doctor[0] if doctor else ()


def on_one_server(kind: str, use: str) -> Words:
    return rule(kind, use) + SELECT


def cluster_adds(kind: str) -> Words:
    return CLUSTER + (CLUSTER_REDIS if kind == "redis" else ())


def grants(words: Words) -> list[str]:
    return [word for word in words if word[0] in "+~&"]


def commands_of(words: Words) -> set[str]:
    return {word[1:] for word in words if word[0] == "+"}


# --- servers on which nobody comes in but the boss, and the user of the page -----------------------------------------


def guarded(folder: Path) -> dict[str, str]:
    """Give lines of redis.conf."""
    file = folder / "users.acl"
    file.write_text(f"user default off\nuser {BOSS} on >{BOSS} ~* &* +@all\n")
    return {"aclfile": str(file), "masteruser": BOSS, "masterauth": BOSS}


@dataclass
class Ground:
    """Where a rule is tried."""

    options: dict[str, Any]
    """Of the section: which servers."""
    servers: Sequence[RedisServer]
    boss: Any
    """A client of redis-py's that may do everything."""
    prefix: str | None = PREFIX
    more: dict[str, Any] = field(default_factory=dict)
    """Further options of the user's."""

    @property
    def start(self) -> str:
        return f"{self.prefix}:" if self.prefix else ""

    async def allow(self, words: Words, *, without: str = "") -> None:
        """Give the user these rights anew, and forget whatever was denied before."""
        said = [word.replace(f"{PREFIX}:", self.start) for word in words if word != without]
        for server in self.servers:
            await server.admin("ACL", "SETUSER", "mybot", *said)
            await server.admin("ACL", "LOG", "RESET")

    async def denied(self) -> set[str]:
        """Give the commands, keys and channels that the user was denied."""
        found = set()
        for server in self.servers:
            for entry in await server.admin("ACL", "LOG"):
                said = dict(zip(entry[::2], entry[1::2], strict=True))
                if said["username"] == "mybot":
                    found.add(str(said["object"]).lower())
        return found - {"client|setinfo"}  # from Redis 7.2 on; redis-py takes no for an answer

    @asynccontextmanager
    async def store(self, kind: str, who: str) -> AsyncIterator[LockStore]:
        """Open a store as the user or the boss. What is over is forgotten after a millisecond."""
        login = {"username": who, "password": BOSS if who == BOSS else "secret"}
        own = {} if who == BOSS else self.more
        options = {"type": kind, "key_prefix": self.prefix, "socket_timeout": 2, **self.options, **login, **own}
        store = create_store(options, Limits(dedup_window_ms=1, history=1))
        try:
            await store.open()
            yield store
        finally:
            await store.close()

    async def lose_history(self) -> None:
        """Have numbers issued by another run of Redis, as after a failover."""
        async for key in self.boss.scan_iter(f"{self.start}*history*"):
            await self.boss.hset(key, "run", "another")

    async def until_subscribed(self, channel: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            counts = [(await server.admin("PUBSUB", "NUMSUB", self.start + channel))[1] for server in self.servers]
            if sum(map(int, counts)):
                return
            if denied := await self.denied():
                raise TimeoutError(f"nobody listens to hints; denied were {denied}")
            await asyncio.sleep(0.02)
        raise TimeoutError("nobody listens to hints")


def boss_of(server: RedisServer) -> Any:
    """Give a client for what the boss does."""
    return redis.Redis(host=server.host, port=server.port, db=1, username=BOSS, password=BOSS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[RedisServer]]:
    """Start a server and its replica."""
    options = REPLICATION_OPTIONS | guarded(tmp_path_factory.mktemp("acl"))
    async with (
        RedisServer(options) as primary,
        RedisServer(options | {"replicaof": f"{primary.host} {primary.port}"}) as replica,
    ):
        while await out_of_sync(primary, [replica]):
            await asyncio.sleep(0.05)
        yield [primary, replica]


@pytest_asyncio.fixture
async def one_server(pair: list[RedisServer]) -> AsyncIterator[Ground]:
    primary = pair[0]
    await primary.admin("FLUSHALL")
    async with boss_of(primary) as boss:
        yield Ground({"host": primary.host, "port": primary.port}, [primary], boss)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisCluster]:
    async with RedisCluster(options=guarded(tmp_path_factory.mktemp("acl"))) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def a_cluster(own_cluster: RedisCluster) -> AsyncIterator[Ground]:
    for node in own_cluster.nodes:
        await node.admin("FLUSHALL")
    nodes = [ClusterNode(node.host, node.port) for node in own_cluster.nodes]
    async with redis.RedisCluster(startup_nodes=nodes, username=BOSS, password=BOSS) as boss:
        options = {"deployment_mode": "cluster", "endpoints": own_cluster.endpoints}
        yield Ground(options, own_cluster.nodes, boss)


# --- what a bot and a daemon do --------------------------------------------------------------------------------------


async def apply(store: LockStore, *commands: Command) -> list[Entry]:
    """Apply commands, none of which may fail, and give where their events are kept."""
    entries: list[Entry] = []
    for outcome in await store.apply(commands):
        if isinstance(outcome, ConversationError):
            raise outcome
        entries += [notice.entry for notice in outcome if notice.entry is not None]
    return entries


def ask(conversation_id: str, request_id: str, lifetime_ms: int = HOLD_MS) -> Request:
    return Request(conversation_id, request_id, lifetime_ms, HOLD_MS, sender=Sender(f"queue of {request_id}"))


async def pass_by(ms: int = 10) -> None:
    """Let what lasts a millisecond be over."""
    await asyncio.sleep(ms / 1000)


async def left_by_rasa(ground: Ground) -> None:
    """Write lines as Rasa does, two of them into one hash slot."""
    for name in ("{rasa}1", "{rasa}2"):
        ticket = json.dumps({"number": 0, "expires": time.time() + 3600})
        value = json.dumps({"conversation_id": name, "tickets": [ticket]})
        await ground.boss.set(f"{ground.start}lock:{name}", value)


async def use_directly(ground: Ground, kind: str) -> None:
    """Do what a bot does that uses the store by itself, with a daemon's tickets in its lines."""
    await left_by_rasa(ground)
    async with ground.store(kind, BOSS) as other, ground.store(kind, "mybot") as bot:
        async with bot.lock("a"):
            assert await bot.is_someone_waiting("a")
        await ground.lose_history()
        number = await bot.issue_ticket("a")
        assert number > 10**12
        await apply(other, ask("a", "behind", lifetime_ms=1))
        await bot.finish_serving("a", number)  # that grants the one behind
        await pass_by()
        number = await bot.issue_ticket("a")  # that ends it
        await pass_by()
        following = await bot.issue_ticket("a")  # that forgets it
        await bot.finish_serving("a", number)  # that tells the following one
        await call_maybe_async(bot.delete_lock, "a")
        assert following > number
        await _wait_for_a_turn(ground, kind, bot, other)


async def _wait_for_a_turn(ground: Ground, kind: str, bot: LockStore, other: LockStore) -> None:
    first = await other.issue_ticket("b")

    async def take() -> None:
        async with bot.lock("b", wait_time_in_seconds=60):
            pass

    taking = asyncio.create_task(take())
    try:
        await ground.until_subscribed(CHANNELS[kind])
        await other.finish_serving("b", first)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(taking)
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def serve(ground: Ground, kind: str) -> None:
    """Do what a daemon does, with a bot's direct tickets in its lines."""
    await left_by_rasa(ground)
    async with ground.store(kind, BOSS) as bot, ground.store(kind, "mybot") as daemon:
        heard = asyncio.Event()
        await daemon.follow(lambda _: heard.set())
        by_request = Release("a", request_id="first")
        asked = (ask("a", "first"), ask("a", "second"), ask("a", "second"))
        entries = await apply(daemon, *asked, Renew("a", request_id="first"), by_request)
        await apply(daemon, Release("a", number=1), Expire("a", 99), Withdraw("a", 2, "queue of second"), Settle("a"))
        await ground.lose_history()
        entries += await apply(daemon, ask("a", "third", lifetime_ms=1))
        await pass_by()
        found = await daemon.patrol([daemon.shard_of("a")], 0)
        assert [type(command) for command in found.overdue] == [Expire]
        await apply(daemon, *found.overdue, ask("a", "fourth"))
        direct = await bot.issue_ticket("a")
        entries += await apply(daemon, Release("a", request_id="fourth"))  # that tells the bot
        await pass_by()
        await apply(daemon, ask("a", "fifth"))  # that forgets the fourth
        await daemon.confirm(entries)
        await daemon.patrol(list(daemon.shards()), 0)
        await ground.until_subscribed(CHANNELS[kind])
        heard.clear()
        await bot.finish_serving("a", direct)
        async with asyncio.timeout(PATIENCE_S):
            await heard.wait()
        await look_round(daemon)
        entries = await apply(daemon, ask("b", "only"), Release("b", request_id="only"))
        await daemon.confirm(entries)  # nothing is due in it any more


async def look_round(daemon: LockStore) -> None:
    """Do what operators do."""
    await apply(daemon, ask("d", "first"), ask("d", "second"))
    assert [line.tickets for line in (await daemon.statistics(1)).longest] == [2]
    assert await daemon.find("d", 1) == ["d"]
    assert (await daemon.view("d"))[0] is not None
    assert len(await daemon.history("d")) == 1
    await daemon.backlog()
    assert await daemon.force_release("d", "anna") is not None


CONTRACTS: dict[str, Callable[[Ground, str], Awaitable[None]]] = {"direct": use_directly, "daemon": serve}
CHANNELS = {"concurrent_redis": "concurrent_lock:hints", "redis": "lockstore:hints"}

FAILURES = (StoreUnavailableError, TimeoutError)
"""What a right that is missing looks like. Never a fault of one conversation: its message would be parked, and lost."""


# --- one server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [PREFIX, None])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_rule_is_enough(kind: str, use: str, prefix: str | None, one_server: Ground) -> None:
    one_server.prefix = prefix
    await one_server.allow(on_one_server(kind, use))
    await CONTRACTS[use](one_server, kind)
    assert await one_server.denied() == set()


@pytest.mark.parametrize(
    ("kind", "use", "without"),
    [(kind, use, word) for kind in KINDS for use in USES for word in grants(on_one_server(kind, use))],
)
async def test_each_word_of_the_rule_is_needed(kind: str, use: str, without: str, one_server: Ground) -> None:
    await one_server.allow(on_one_server(kind, use), without=without)
    with pytest.raises(FAILURES):
        await CONTRACTS[use](one_server, kind)
    denied = await one_server.denied()
    if without[0] == "+":
        assert denied == {without[1:]}
    else:
        assert denied
        assert all(thing.startswith(without[1:].rstrip("*")) for thing in denied)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_rule_grants_nothing_else(kind: str, use: str, one_server: Ground) -> None:
    words = on_one_server(kind, use)
    await one_server.allow(words)
    granted = await dry_run(one_server.servers[0])
    assert granted == commands_of(words) | ALWAYS
    user = AdminSocket(one_server.servers[0].admin_socket.path, "mybot", "secret")
    for command in (
        "KEYS *",
        "FLUSHALL",
        "CONFIG GET *",
        "ACL LIST",
        "SCRIPT FLUSH",
        "EVAL return(0) 0",
        "CLIENT LIST",
    ):
        with pytest.raises(NoPermissionError, match="permissions to run"):
            await user.ask(*command.split())
    own = "concurrent_lock" if kind == "concurrent_redis" else "lockstore"
    await user.ask("GET", f"mybot:{own}:any")
    for key in ("any", "mybot", "mybotany", f"xmybot:{own}:any", f"other:{own}:any", f"{own}:any"):
        with pytest.raises(NoPermissionError, match=NO_KEY):
            await user.ask("GET", key)
    await user.ask("SUBSCRIBE", f"mybot:{CHANNELS[kind]}")
    for channel in ("any", f"mybot:{CHANNELS[kind]}2", CHANNELS[kind]):
        with pytest.raises(NoPermissionError, match=NO_CHANNEL):
            await user.ask("SUBSCRIBE", channel)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rule_has_every_command_of_the_scripts(kind: str) -> None:
    scripts = [load(name) for name in concurrent._VERBS] if kind == "concurrent_redis" else redis_store._SCRIPTS
    said = {name.lower() for script in scripts for name in re.findall(r"redis\.call\('(\w+)'", script.text)}
    daemon, doctor = doctors_rule(kind)
    assert said <= commands_of(daemon + doctor)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_audit_takes_these_words_more(kind: str, one_server: Ground) -> None:
    daemon, words = doctors_rule(kind)
    await one_server.allow(daemon + words + SELECT)
    await audit(one_server, kind)
    assert await one_server.denied() == set()
    for word in words:
        await one_server.allow(daemon + words + SELECT, without=word)
        with pytest.raises(FAILURES):
            await audit(one_server, kind)
        assert await one_server.denied() == {word[1:]}


async def audit(ground: Ground, kind: str) -> None:
    async with ground.store(kind, BOSS) as other, ground.store(kind, "mybot") as doctor:
        await apply(other, ask("a", "first"), ask("a", "second"))
        assert [item async for item in doctor.audit() if isinstance(item, AuditFinding)] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_daemon_serves_as_the_user(
    kind: str, one_server: Ground, rabbitmq: RabbitMQ, namespace: str, start_daemon: DaemonMaker
) -> None:
    await one_server.allow(on_one_server(kind, "daemon"))
    login = {"username": "mybot", "password": "secret", "key_prefix": PREFIX}
    await start_daemon(
        {
            "lock_store": {"type": kind, **one_server.options, **login},
            "broker": {"url": rabbitmq.url, "namespace": namespace},
        }
    )
    async with Bot(rabbitmq.url, namespace) as bot:
        for _ in range(2):
            granted = await bot.lock("c", lifetime=60)
            await bot.release("c", ticket_number=granted["ticket_number"])
            await bot.expect("released", ticket_number=granted["ticket_number"])
        await bot.lock("c", lifetime=0.1)
        await bot.expect("expired")
    assert await one_server.denied() == set()


ALWAYS = {"auth", "hello", "quit", "reset"}
"""What every connection may do, before anybody is known."""


async def dry_run(server: RedisServer) -> set[str]:
    """Give all commands, with their subcommands, that the user may run."""
    granted = set()
    for command in await server.admin("COMMAND"):
        name, arity, subcommands = command[0], command[1], command[9]
        for one in subcommands or [(name, arity)]:
            words = one[0].split("|") + ["1"] * max(0, abs(one[1]) - len(one[0].split("|")))
            try:
                said = await server.admin("ACL", "DRYRUN", "mybot", *words)
            except ResponseError as error:
                said = str(error)
            if "no permissions to run" not in said:
                granted.add(one[0])
    return granted


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", KINDS)
async def test_waiting_for_replicas_takes_one_word_more(kind: str, use: str, one_server: Ground) -> None:
    one_server.more = {
        "wait_replicas": 1,
        "wait_replicas_timeout_ms": 20_000,
    }  # the replica is there, if it is busy, too
    await one_server.allow(on_one_server(kind, use) + WAIT)
    await CONTRACTS[use](one_server, kind)
    assert await one_server.denied() == set()
    [word] = WAIT
    await one_server.allow(on_one_server(kind, use))
    with pytest.raises(FAILURES):
        await CONTRACTS[use](one_server, kind)
    assert await one_server.denied() == {word[1:]}


# --- a cluster -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", KINDS)
async def test_in_a_cluster_the_rule_is_enough(
    kind: str, use: str, a_cluster: Ground, own_cluster: RedisCluster
) -> None:
    await a_cluster.allow(rule(kind, use) + cluster_adds(kind))
    await CONTRACTS[use](a_cluster, kind)
    await while_a_slot_moves(kind, a_cluster, own_cluster)
    assert await a_cluster.denied() == set()


@pytest.mark.parametrize(
    ("kind", "use", "without"),
    [(kind, use, word) for kind in KINDS for use in USES for word in cluster_adds(kind)],
)
async def test_in_a_cluster_each_further_word_is_needed(
    kind: str, use: str, without: str, a_cluster: Ground, own_cluster: RedisCluster
) -> None:
    await a_cluster.allow(rule(kind, use) + cluster_adds(kind), without=without)
    with pytest.raises(FAILURES) as caught:
        await CONTRACTS[use](a_cluster, kind)
        await while_a_slot_moves(kind, a_cluster, own_cluster)
    if without == "+cluster|slots":
        assert "no permissions to run" in str(caught.value)
    assert await a_cluster.denied() == {without[1:]}


async def while_a_slot_moves(kind: str, ground: Ground, cluster: RedisCluster) -> None:
    """Do something to a key that has gone to the slot's next owner already."""
    async with ground.store(kind, "mybot") as bot:
        await bot.issue_ticket("moving")
        key = RedisKeys(PREFIX, clustered=True).slots if kind == "redis" else f"{{{bot.shard_of('moving')}}}"
        slot = key_slot(key.encode())
        source = await cluster.primary_of(slot)
        [target] = [node for node in cluster.nodes if node is not source][:1]

        async def between() -> None:
            await cluster._migrate(slot, source, target, 1000)  # the other half
            if kind == "redis":
                await bot.issue_ticket("in another slot")
            else:
                assert await bot.is_someone_waiting("moving")

        await cluster.move_slot(slot, target, between=between)


# --- Sentinels -------------------------------------------------------------------------------------------------------


async def test_at_the_sentinels_one_right_is_enough_and_needed(tmp_path: Path) -> None:
    options = guarded(tmp_path)
    async with RedisSentinels(0, 1, options=options, sentinel_options=options, watch=Watch(quorum=1)) as group:
        [server], [sentinel] = group.servers, group.sentinels
        async with boss_of(server) as boss:
            where = {"deployment_mode": "sentinel", "endpoints": group.endpoints, "sentinel_service": group.service}
            ground = Ground(where, [server], boss)
            ground.more = {"sentinel_username": "mybot", "sentinel_password": "secret"}
            ground.options |= {"sentinel_username": BOSS, "sentinel_password": BOSS}
            await ground.allow(on_one_server("concurrent_redis", "daemon"))
            await sentinel.admin("ACL", "SETUSER", "mybot", *SENTINEL)
            await serve(ground, "concurrent_redis")
            assert await ground.denied() == set()

            [word] = [word for word in SENTINEL if word[0] == "+"]
            await sentinel.admin("ACL", "SETUSER", "mybot", f"-{word[1:]}")
            with pytest.raises(FAILURES, match="no permissions"):
                await serve(ground, "concurrent_redis")
        assert grants(SENTINEL) == [word]
