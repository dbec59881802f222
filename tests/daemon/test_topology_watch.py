"""What someone removes from the broker while a daemon serves is reported and declared again, and locks go on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import aiohttp
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel

from daemon.broker.request_queues import Queue
from daemon.cluster.broker_state import BrokerState
from daemon.cluster.listening import collect_heartbeats
from daemon.views.findings import check_broker_state
from harness import DaemonProcess, RabbitMQ
from lockstore.client import LockClient
from lockstore.protocol.naming import Names
from tests.conftest import DaemonMaker
from tests.support.bot import Bot

PATIENCE_S = 30.0


@pytest_asyncio.fixture
async def channel(rabbitmq: RabbitMQ) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        yield await connection.channel()


async def readyz(daemon: DaemonProcess) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}readyz") as answer:
        return list((await answer.json())["reasons"])


async def until_served(rabbitmq: RabbitMQ, namespace: str) -> None:
    """Ask as a replica does until there is a grant."""
    async with LockClient(rabbitmq.url, namespace=namespace) as locks, locks.lock("after", wait=PATIENCE_S):
        pass


@pytest.mark.parametrize("exchange", ["requests", "events", "dead-letters"])
async def test_an_exchange_that_is_deleted_is_reported_and_declared_again(
    exchange: str,
    rabbitmq: RabbitMQ,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    channel: AbstractChannel,
    namespace: str,
) -> None:
    config["daemon"]["http"] = "127.0.0.1:0"
    daemon = await start_daemon(config)
    name = f"{namespace}.{exchange}"
    await channel.exchange_delete(name)
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not daemon.events("topology.repaired"):
            seen += await readyz(daemon)
        while not (seen := seen or await readyz(daemon)):
            pass
    assert name in daemon.events("topology.missing")[0]["missing"]
    assert {reason["reason"] for reason in seen} == {"topology_missing"}
    assert name in seen[0]["detail"]
    await channel.get_exchange(name)
    await until_served(rabbitmq, namespace)
    async with asyncio.timeout(PATIENCE_S):
        while await readyz(daemon):
            await asyncio.sleep(0.05)
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}metrics") as answer:
        assert "lockstore_topology_repairs_total 1.0" in await answer.text()
    assert len(daemon.events("daemon.ready")) == 1


async def test_queues_that_are_unbound_are_bound_again_and_a_dead_letter_queue_that_is_deleted_is_declared_again(
    rabbitmq: RabbitMQ,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    channel: AbstractChannel,
    bot: Bot,
    namespace: str,
) -> None:
    config["broker"]["partitions"] = 3
    daemon = await start_daemon(config)
    pattern = f"^{namespace}"  # a policy on all of it changes nothing
    await rabbitmq.ctl("set_policy", namespace, pattern, '{"max-length": 5000}', "--apply-to", "all")
    for name, key in (("requests.0", "0"), ("requests.1", "1"), ("requests.2", "2"), ("dead-letters", "")):
        queue = await channel.get_queue(f"{namespace}.{name}", ensure=False)
        await queue.unbind(f"{namespace}.{name.partition('.')[0]}", key)
    async with LockClient(rabbitmq.url, namespace=namespace, partitions=3) as locks:
        for place in range(6):
            async with locks.lock(f"after {place}", wait=PATIENCE_S):
                pass
    await channel.queue_delete(f"{namespace}.dead-letters")
    async with asyncio.timeout(PATIENCE_S):
        while not daemon.events("topology.repaired"):
            await asyncio.sleep(0.05)
    assert f"the queue {namespace}.dead-letters" in daemon.events("topology.repaired")[0]["declared"]
    queue = await channel.get_queue(f"{namespace}.dead-letters")
    await queue.unbind(f"{namespace}.dead-letters")
    async with asyncio.timeout(PATIENCE_S):  # a dead letter goes through the binding where RabbitMQ puts it there
        while await queue.get(no_ack=True, fail=False) is None:
            exchange = await channel.get_exchange(f"{namespace}.dead-letters", ensure=False)
            await exchange.publish(aio_pika.Message(b"x"), "")
            await asyncio.sleep(0.1)
    await rabbitmq.ctl("clear_policy", namespace)
    assert len(daemon.events("daemon.ready")) == 1


async def test_a_right_that_is_lost_ends_no_session_and_is_told_until_it_is_back(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, channel: AbstractChannel, namespace: str
) -> None:
    user = f"u{namespace}"
    await rabbitmq.ctl("add_user", user, "pw")
    await rabbitmq.ctl("set_permissions", "-p", "/", user, ".*", ".*", ".*")
    config["broker"]["url"] = rabbitmq.url.replace("guest:guest@", f"{user}:pw@")
    config["daemon"]["http"] = "127.0.0.1:0"
    daemon = await start_daemon(config)
    await rabbitmq.ctl("set_permissions", "-p", "/", user, "^$", ".*", ".*")
    [note] = await until_noted(daemon, present=True)
    assert note["note"] == "topology_unwatched"
    assert "lacks a permission" in note["detail"]
    assert "lockstore_topology_unwatched 1.0" in await metrics(daemon)
    connection = await aio_pika.connect(rabbitmq.url)
    words = await collect_heartbeats(connection, Names(namespace), 2.5)
    await connection.close()
    assert any("lacks a permission" in said for word in words for said in word.notes)
    await channel.exchange_delete(f"{namespace}.events")
    async with asyncio.timeout(PATIENCE_S):
        while not (reasons := await readyz(daemon)) or "cannot be declared again" not in reasons[0]["detail"]:
            await asyncio.sleep(0.05)
    assert reasons[0]["reason"] == "topology_missing"
    await rabbitmq.ctl("set_permissions", "-p", "/", user, ".*", ".*", ".*")
    assert await until_noted(daemon, present=False) == []
    await channel.get_exchange(f"{namespace}.events")
    await until_served(rabbitmq, namespace)
    assert daemon.events("broker.lost") == []
    assert len(daemon.events("topology.unwatched")) == 1
    await rabbitmq.ctl("delete_user", user)


async def until_noted(daemon: DaemonProcess, *, present: bool) -> list[dict[str, Any]]:
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as client:
        while True:
            async with client.get(f"{daemon.http_url}readyz") as answer:
                notes = list((await answer.json())["notes"])
            if bool(notes) == present:
                return notes
            await asyncio.sleep(0.05)


async def metrics(daemon: DaemonProcess) -> str:
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}metrics") as answer:
        return await answer.text()


async def test_a_request_queue_that_is_deleted_is_declared_by_the_next_session(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, channel: AbstractChannel, namespace: str
) -> None:
    daemon = await start_daemon(config)
    await channel.queue_delete(f"{namespace}.requests.0")
    await until_served(rabbitmq, namespace)
    assert f"the queue {namespace}.requests.0 is gone" in daemon.events("broker.lost")[0]["error"]


async def test_a_holder_keeps_its_lease_while_the_exchange_is_deleted_and_declared_again(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, channel: AbstractChannel, namespace: str
) -> None:
    daemon = await start_daemon(config)
    async with LockClient(rabbitmq.url, namespace=namespace) as locks:
        async with locks.lock("held", lifetime=15) as ticket:
            await channel.exchange_delete(f"{namespace}.requests")
            async with asyncio.timeout(PATIENCE_S):
                while not daemon.events("topology.repaired"):
                    await asyncio.sleep(0.05)
            await asyncio.sleep(15)  # longer than the lease was when the exchange went: it was renewed
        async with locks.lock("held", wait=PATIENCE_S) as following:
            assert following.number == ticket.number + 1


async def test_the_events_of_a_broken_time_are_announced_after_it(
    rabbitmq: RabbitMQ,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    channel: AbstractChannel,
    bot: Bot,
    namespace: str,
) -> None:
    await start_daemon(config)
    await channel.exchange_delete(f"{namespace}.events")
    await bot.request("c", "r")  # what is published of it closes the daemon's channel
    await bot.expect("granted", request_id="r")
    await until_served(rabbitmq, namespace)


def test_status_and_doctor_name_an_exchange_that_is_missing() -> None:
    estate = BrokerState("n", 1, {0: Queue(0, 1)}, [], 0, missing_exchanges=["n.requests"])
    assert "the exchange n.requests does not exist" in next(found.message for found in check_broker_state(estate))
