"""Redis and RabbitMQ restarted under load, with their data: nothing lost, no overlap, and service resumes by itself."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from harness import RabbitMQ, RedisServer
from lockstore.client import LockClient
from lockstore.errors import LockError
from tests.conftest import DaemonMaker, shared_config
from tests.support.bot import Bot
from tests.support.public import Public

CONVERSATIONS, CALLERS = 5, 20


class Load:
    """Callers that take turns, and a record of who was inside when (this process's monotonic clock)."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._namespace = namespace
        self.stays: dict[str, list[tuple[int, float, float]]] = {f"c{place}": [] for place in range(CONVERSATIONS)}
        self.lost = 0
        self._stopping = False

    @property
    def entries(self) -> int:
        return sum(map(len, self.stays.values()))

    async def run(self) -> None:
        async with (
            LockClient(self._url, namespace=self._namespace) as one,
            LockClient(self._url, namespace=self._namespace) as two,
        ):
            await asyncio.gather(*(self._call([one, two][place % 2], place) for place in range(CALLERS)))

    async def _call(self, locks: LockClient, place: int) -> None:
        conversation = f"c{place % CONVERSATIONS}"
        while not self._stopping:
            try:
                async with locks.lock(conversation, wait=60, lifetime=30, holder=f"caller {place}") as ticket:
                    entered = time.monotonic()
                    try:
                        await asyncio.sleep(0.002)
                    finally:
                        self.stays[conversation].append((ticket.number, entered, time.monotonic()))
            except LockError:
                self.lost += 1

    def stop(self) -> None:
        self._stopping = True

    async def until(self, entries: int, patience_s: float = 40) -> None:
        """Wait for that many more entries."""
        wanted = self.entries + entries
        async with asyncio.timeout(patience_s):
            while self.entries < wanted:
                await asyncio.sleep(0.02)

    def check(self) -> None:
        for conversation, stays in self.stays.items():
            stays.sort(key=lambda stay: stay[1])
            numbers = [number for number, _, _ in stays]
            assert numbers == sorted(set(numbers)), f"{conversation}: entered out of turn, or twice"
            for (_, _, left), (number, entered, _) in pairwise(stays):
                assert left <= entered, f"{conversation}: {number} overlaps the one before it"


@pytest_asyncio.fixture
async def redis_of_its_own() -> AsyncIterator[RedisServer]:
    async with RedisServer(persistence="always") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rabbitmq_of_its_own() -> AsyncIterator[RabbitMQ]:
    """One that the tests of this file restart; each leaves it running."""
    async with RabbitMQ() as node:
        yield node


async def loaded(load: Load, public: Public, restart: Any) -> None:
    """Run the load across a restart, and see that everything asked for ended."""
    running = asyncio.create_task(load.run())
    await load.until(200)
    await restart()
    await load.until(200)
    load.stop()
    await running
    load.check()
    # Nothing lost: every ticket that anybody heard of came to its end.
    heard = {event["request_id"] for event in public.events.values()}
    await public.until_ended(heard, patience_s=40)
    public.check()


@pytest.mark.parametrize("kind", ["concurrent_redis", "redis"])
async def test_redis_restarted_under_load(
    kind: str, rabbitmq: RabbitMQ, redis_of_its_own: RedisServer, start_daemon: DaemonMaker, namespace: str
) -> None:
    config = shared_config(rabbitmq, redis_of_its_own, namespace)
    config["lock_store"]["type"] = kind
    daemon = await start_daemon(config)
    async with Public(rabbitmq.url, namespace) as public:
        load = Load(rabbitmq.url, namespace)

        async def restart() -> None:
            await redis_of_its_own.kill()
            await asyncio.sleep(0.5)
            await redis_of_its_own.start()

        await loaded(load, public, restart)
    assert load.lost == 0
    assert daemon.events("store.unavailable"), "the restart was not noticed: the test showed nothing"
    assert daemon.events("store.available")


async def test_rabbitmq_restarted_under_load(
    rabbitmq_of_its_own: RabbitMQ, redis_server: RedisServer, start_daemon: DaemonMaker
) -> None:
    node = rabbitmq_of_its_own
    namespace = f"t{uuid.uuid4().hex[:8]}"
    daemon = await start_daemon(shared_config(node, redis_server, namespace))
    with suppress(ConnectionError):
        async with Public(node.url, namespace) as public:
            await loaded(Load(node.url, namespace), public, node.restart)
    assert daemon.events("broker.lost")
    assert len(daemon.events("daemon.ready")) >= 2
    assert daemon.running


async def test_an_idle_daemon_notices_that_the_broker_is_gone(
    rabbitmq_of_its_own: RabbitMQ, start_daemon: DaemonMaker
) -> None:
    """With the in-memory store: deadlines and what was not announced yet outlive the connection, too."""
    node = rabbitmq_of_its_own
    config = {"lock_store": {"type": "in_memory"}, "broker": {"url": node.url}}
    await (await start_daemon(config)).stop()
    # RabbitMQ 3.10 keeps its list of quorum queues in a file that it does not sync: killed soon after the first
    # declaration, it never elects a leader for the newest one. A clean restart writes the list down.
    began = time.monotonic()
    await node.restart()
    restart_s = time.monotonic() - began
    daemon = await start_daemon(config)
    async with Bot(node.url, "lockstore") as bot:
        # Longer than RabbitMQ will be away, on a busy machine too: the waiter is to be there again when its turn comes.
        lease_s = max(12, 2 * restart_s)
        await bot.lock("c", lifetime=lease_s, holder="the holder")
        await bot.request("c", "waiter", lifetime=60, wait=300)
        await bot.expect("queued", request_id="waiter")
        await node.kill()
        async with asyncio.timeout(20):
            while not daemon.events("broker.lost"):
                await asyncio.sleep(0.05)
        await node.start()
        async with asyncio.timeout(30):
            while len(daemon.events("daemon.ready")) < 2:
                await asyncio.sleep(0.05)
    async with Bot(node.url, "lockstore") as bot:
        bot.patience_s += lease_s
        await bot.request("c", "waiter")  # as a replica does that has connected again
        granted = await bot.expect("granted", request_id="waiter")
        assert granted["ticket_number"] == 1


async def test_a_standby_ends_what_the_killed_daemon_had_granted(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    """With the store of single values, whose deadlines every daemon finds on the agenda."""
    config["lock_store"]["type"] = "redis"
    active = await start_daemon(config)
    await start_daemon(config)
    await bot.request("c", "holder", lifetime=2)
    await bot.request("c", "waiter", lifetime=60)
    await bot.expect("queued", request_id="waiter")
    await active.kill()
    await bot.expect("expired", request_id="holder")
    await bot.expect("granted", request_id="waiter")
