"""Deliveries that are another's by now, because RabbitMQ took them back: they do not reach the store."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from daemon.monitoring.counters import Counters
from daemon.monitoring.health import Health
from daemon.serving.consumer import QueueConsumer
from daemon.serving.freeze_detector import FreezeDetector
from daemon.serving.retrying_store import RetryingStore
from daemon.serving.session import Session
from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.errors import BrokerLostError, StoreUnavailableError
from tests.conftest import DaemonMaker
from tests.support.bot import PATIENCE_S, Bot
from tests.support.proxy import Proxy

DEDUP_WINDOW_S = 1


@pytest_asyncio.fixture
async def wire(redis_server: RedisServer) -> AsyncIterator[Proxy]:
    """Give one daemon a way to Redis of its own."""
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


def through(wire: Proxy, config: dict[str, Any]) -> dict[str, Any]:
    return config | {"lock_store": config["lock_store"] | {"host": "127.0.0.1", "port": wire.port}}


async def said(daemon: DaemonProcess, event: str) -> None:
    async with asyncio.timeout(PATIENCE_S * 2):
        while not daemon.events(event):
            await asyncio.sleep(0.05)


async def test_a_batch_that_waits_for_redis_is_abandoned_when_the_broker_ends_its_channel(
    rabbitmq: RabbitMQ, wire: Proxy, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    """The active daemon alone is cut off from Redis, and RabbitMQ's consumer timeout gives its messages to the next one."""
    config["daemon"] = {"dedup_window": DEDUP_WINDOW_S, "history_keep": DEDUP_WINDOW_S}
    await rabbitmq.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1000).")
    try:
        first = await start_daemon(through(wire, config))
    finally:
        await rabbitmq.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
    await start_daemon(config)
    await bot.lock("warm")
    wire.block()
    names = [await bot.request("c", f"r{place}", lifetime=0.2) for place in range(3)]
    await said(first, "store.unavailable")
    async with asyncio.timeout(PATIENCE_S * 3):
        while not any(answer["type"] == "granted" and answer["request_id"] in names for answer in bot.answers):
            await rabbitmq.ctl("eval", "[Channel ! tick || Channel <- rabbit_channel:list_local()].")
    for name in names:
        await bot.expect("expired", request_id=name)
    await asyncio.sleep(DEDUP_WINDOW_S * 1.5)
    wire.unblock()
    await said(first, "broker.lost")  # whatever it held is applied by now, or abandoned
    await said(first, "store.available")
    granted = await bot.lock("c")
    assert granted["ticket_number"] == len(names) + 1, "a request that was over got a second ticket"
    assert "requests.0 was closed" in first.events("broker.lost")[0]["error"]


async def test_before_each_try_it_is_asked_whether_the_batch_is_still_to_be_applied() -> None:
    tries = 0

    async def apply(_: object) -> None:
        nonlocal tries
        tries += 1
        raise StoreUnavailableError("away")

    def check() -> None:
        if tries == 2:
            raise BrokerLostError("another's by now")

    store: Any = SimpleNamespace(apply=apply)
    with pytest.raises(BrokerLostError, match="another's"):
        await RetryingStore(store, Health(), Counters()).apply([], check=check)
    assert tries == 2


class Channel:
    def __init__(self) -> None:
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def basic_qos(self, **_: int) -> None:
        """Take it."""

    async def basic_consume(self, _: str, on_message: Any) -> None:
        self.deliver = on_message


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_what_has_arrived_when_the_consumer_ends_is_dropped_and_so_is_what_comes_then(how: str) -> None:
    channel: Any = Channel()
    consumer = QueueConsumer(0, "q", channel)
    await consumer.open(10)
    await channel.deliver(SimpleNamespace(delivery_tag=1))
    assert len(await consumer.take(10)) == 1
    await channel.deliver(SimpleNamespace(delivery_tag=2))
    if how == "cancelled":
        [on_cancel] = channel.on_consumer_cancel_callbacks
        on_cancel(None)
    else:
        channel.closing.set_exception(RuntimeError("PRECONDITION_FAILED"))
        await asyncio.sleep(0)
    await channel.deliver(SimpleNamespace(delivery_tag=3))
    with pytest.raises(BrokerLostError, match="consumer" if how == "cancelled" else "was closed"):
        consumer.check()
    with pytest.raises(BrokerLostError):
        await consumer.take(10)
    assert consumer.waiting == 1, "the one that was taken"


async def test_whoever_waits_for_messages_hears_at_once_that_none_will_come() -> None:
    channel: Any = Channel()
    consumer = QueueConsumer(0, "q", channel)
    await consumer.open(10)
    taking = asyncio.create_task(consumer.take(10))
    await asyncio.sleep(0)
    channel.closing.set_result(None)
    with pytest.raises(BrokerLostError, match="was closed"):
        await taking


async def test_a_freeze_is_told_rather_than_what_came_of_it() -> None:
    """RabbitMQ ends the connection of a daemon that is stopped, and the daemon may hear of that first when it goes on."""
    now = 100.0
    detector = FreezeDetector(2.0, lambda: now)
    session = Session(cast("Any", SimpleNamespace(freeze_detector=detector)))
    channel: Any = Channel()
    consumer = QueueConsumer(0, "q", channel, detector.check)
    await consumer.open(10)
    taking = asyncio.create_task(consumer.take(10))
    await asyncio.sleep(0)

    async def end() -> None:
        raise BrokerLostError("the connection was closed")

    with pytest.raises(BrokerLostError, match="was closed"):
        await session._or_frozen(end)
    now += 3
    channel.closing.set_exception(RuntimeError("the connection was closed"))
    for hearing in (taking, session._or_frozen(end), consumer.take(10)):
        with pytest.raises(BrokerLostError, match=r"was frozen for 3\.0 s"):
            await hearing
    with pytest.raises(BrokerLostError, match="was frozen for"):
        consumer.check()
