"""From Rasa's `redis` store to the daemon's, with tickets in it; and on to `concurrent_redis`, with the old keys purged."""

import asyncio
import json
import time
from typing import Any

import pytest
import redis

from harness import RabbitMQ
from lockstore.client import LockClient
from lockstore.core.rules import Limits
from lockstore.factory import create_store
from tests.conftest import DaemonMaker
from tests.migration.conftest import RunPurge, told
from tests.migration.leavings import shot_of
from tests.support.bot import Bot
from tests.support.rasa import RasaProcess, as_rasa_reads


@pytest.fixture
def config(on_redis: dict[str, Any], rabbitmq: RabbitMQ, namespace: str) -> dict[str, Any]:
    """Configure a daemon as a Rasa user would: the section that Rasa had, without a key_prefix."""
    return {
        "lock_store": {"type": "redis", **on_redis},
        "broker": {"url": rabbitmq.url, "namespace": namespace},
        "daemon": {},
    }


@pytest.fixture
def rasa(client: redis.Redis) -> RasaProcess:
    return RasaProcess(client)


def rasa_reads_all(client: redis.Redis) -> dict[str, list[int]]:
    """Read every lock as Rasa does, and give the numbers that stand in it."""
    found: dict[str, list[int]] = {}
    for key in client.scan_iter("lock:*"):
        value: Any = client.get(key)
        if value is not None:  # else it went just now
            tickets = as_rasa_reads(value)
            assert json.loads(value)["conversation_id"] == key.decode().removeprefix("lock:")
            assert all(type(number) is int and type(expires) is float for number, expires in tickets)
            found[key.decode().removeprefix("lock:")] = [number for number, _ in tickets]
    return found


@pytest.mark.slow
async def test_requests_queue_behind_what_rasa_left_and_are_granted_in_order_as_it_expires(
    client: redis.Redis, rasa: RasaProcess, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    now = time.time()
    rasa.put("two left", (6, now + 8.123456), (7, now + 9.654321))
    rasa.put("one overdue", (3, now - 60.5), (4, now + 8.654321))
    rasa.put("long", (0, now + 3600))
    ends = {"two left": now + 9.654321, "one overdue": now + 8.654321}
    numbers = {"two left": [8, 9, 10], "one overdue": [5, 6, 7]}
    await start_daemon(config)

    async def story(conversation_id: str) -> None:
        requests = [await bot.request(conversation_id, wait=60, lifetime=30) for _ in range(3)]
        for request_id, number in zip(requests, numbers[conversation_id], strict=True):
            assert (await bot.expect("queued", request_id=request_id))["ticket_number"] == number
        for place, (request_id, number) in enumerate(zip(requests, numbers[conversation_id], strict=True)):
            granted = await bot.expect("granted", request_id=request_id)
            assert granted["ticket_number"] == number
            assert granted["at"] >= ends[conversation_id], "before Rasa's last ticket had ended"
            assert granted["at"] < ends[conversation_id] + 2
            assert rasa_reads_all(client)[conversation_id] == numbers[conversation_id][place:]
            await bot.release(conversation_id, ticket_number=number)
            await bot.expect("released", request_id=request_id)

    async def reader() -> None:
        while True:
            rasa_reads_all(client)
            await asyncio.sleep(0.01)

    await bot.request("long", "in vain", wait=60)
    reading = asyncio.create_task(reader())
    await asyncio.gather(*map(story, ends))
    assert not reading.done(), "a Rasa process could not read a value"
    reading.cancel()
    assert rasa_reads_all(client) == {"long": [0, 1]}, "of the others nothing is left to be read"
    assert not [answer for answer in bot.answers if answer["type"] == "granted" and answer["conversation_id"] == "long"]


async def test_what_rasa_left_overdue_is_passed_over_and_numbers_go_on_for_good(
    client: redis.Redis, rasa: RasaProcess, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    now = time.time()
    rasa.put("overdue", (3, now - 60.5), (4, now - 50.25))
    rasa.put("empty")
    daemon = await start_daemon(config)
    for conversation_id, number in (("overdue", 5), ("empty", 0), ("never seen", 0)):
        assert (await bot.lock(conversation_id))["ticket_number"] == number
        assert rasa_reads_all(client)[conversation_id] == [number]
        await bot.release(conversation_id, ticket_number=number)
        await bot.expect("released", conversation_id=conversation_id)
    assert rasa_reads_all(client) == {}
    await daemon.restart()
    for conversation_id, number in (("overdue", 6), ("empty", 1), ("never seen", 1)):
        assert (await bot.lock(conversation_id))["ticket_number"] == number


async def test_a_rasa_process_that_gives_its_ticket_back_with_nobody_of_ours_behind_it_makes_room(
    rasa: RasaProcess, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    later = time.time() + 3600
    rasa.put("c", (6, later), (7, later))
    await start_daemon(config)
    rasa.finish("c", 6)
    rasa.finish("c", 7)
    assert (await bot.lock("c"))["ticket_number"] == 0, "Rasa keeps no number, and the daemon had issued none"


async def test_a_rasa_process_that_gives_its_ticket_back_with_requests_behind_it_lets_them_through(
    client: redis.Redis, rasa: RasaProcess, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    later = time.time() + 3600
    rasa.put("c", (6, later), (7, later))
    await start_daemon(config)
    requests = [await bot.request("c", wait=5, lifetime=30) for _ in range(2)]
    for request_id in requests:
        await bot.expect("queued", request_id=request_id)
    rasa.finish("c", 6)
    assert rasa_reads_all(client) == {"c": [7, 8, 9]}
    rasa.finish("c", 7)
    for request_id, number in zip(requests, (8, 9), strict=True):
        async with asyncio.timeout(5):
            assert (await bot.expect("granted", request_id=request_id))["ticket_number"] == number
        await bot.release("c", ticket_number=number)


async def test_from_redis_to_concurrent_redis_and_the_old_keys_are_purged(
    client: redis.Redis,
    rasa: RasaProcess,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    bot: Bot,
    purge: RunPurge,
) -> None:
    client.lock("lock:invoice", timeout=600).acquire()
    stranger = shot_of(client)
    rasa.put("left by rasa", (6, time.time() - 60))
    rasa.put("busy", (0, time.time() + 3600))
    daemon = await start_daemon(config)
    await bot.lock("a", lifetime=3600)
    await bot.release("a", ticket_number=0)
    await bot.expect("released")
    await bot.lock("held", lifetime=3600)
    await daemon.stop()
    old = shot_of(client).keys() - stranger.keys()

    config["lock_store"]["type"] = "concurrent_redis"
    refused = purge(config["lock_store"], "--store", "concurrent_redis", "--yes")
    assert refused.returncode == 2
    assert shot_of(client).keys() == stranger.keys() | old
    daemon = await start_daemon(config)
    kept = await bot.lock("a", lifetime=3600)
    assert kept["ticket_number"] == 1, "the two stores share no number"
    await bot.request("a", "behind", wait=3600)
    await bot.expect("queued", request_id="behind")
    said = told(purge, config["lock_store"])
    assert said["keys"] == len(old)
    assert said["kinds"]["lock"]["count"] == 2, "busy and held; the sweeper has ended what Rasa left overdue"
    assert said["live_tickets"] == 2
    assert shot_of(client).keys() >= old, "a look deletes nothing"
    run = purge(config["lock_store"], "--yes")
    assert run.returncode == 0
    assert "WARNING: 2 tickets are still live." in run.stdout
    assert f"Deleted: {len(old)} keys." in run.stdout
    new = {key for key in shot_of(client) if key.startswith(b"concurrent_lock:")}
    assert shot_of(client).keys() == stranger.keys() | new
    assert shot_of(client)[b"lock:invoice"] == stranger[b"lock:invoice"]

    await bot.release("a", ticket_number=1)
    assert (await bot.expect("granted", request_id="behind"))["ticket_number"] == 2, "it went on as if nothing had been"
    await daemon.restart()
    assert (await bot.lock("held"))["ticket_number"] == 1


async def test_and_back_again(
    client: redis.Redis,
    rasa: RasaProcess,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    bot: Bot,
    purge: RunPurge,
) -> None:
    """The old keys were not purged: so the numbers of the `redis` store go on where they were."""
    daemon = await start_daemon(config)
    for number in range(3):
        await bot.lock("a", lifetime=3600)
        await bot.release("a", ticket_number=number)
        await bot.expect("released")
    await daemon.stop()
    section = config["lock_store"]
    section["type"] = "concurrent_redis"
    daemon = await start_daemon(config)
    assert (await bot.lock("a"))["ticket_number"] == 1
    await bot.release("a", ticket_number=1)
    await bot.expect("released")
    await daemon.stop()
    section["type"] = "redis"
    await start_daemon(config)
    assert (await bot.lock("a"))["ticket_number"] == 3
    assert told(purge, section, "--store", "concurrent_redis", "--yes")["deleted"] > 0
    assert not list(client.scan_iter("concurrent_lock:*"))
    assert rasa.tickets("a")[0][0] == 3, "Rasa itself could go on from here"


@pytest.mark.parametrize("kind", ["redis", "concurrent_redis"])
async def test_replicas_go_over_from_direct_use_to_the_daemon_one_by_one(
    kind: str, config: dict[str, Any], start_daemon: DaemonMaker, rabbitmq: RabbitMQ, namespace: str
) -> None:
    config["lock_store"]["type"] = kind
    numbers: list[int] = []
    inside = 0
    over = [asyncio.Event() for _ in range(3)]  # when each replica goes over
    done = asyncio.Event()

    async def work(number: int) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1, "two at once"
        numbers.append(number)
        await asyncio.sleep(0.002)
        inside -= 1

    async def replica(goes_over: asyncio.Event) -> tuple[int, int]:
        directly, by_daemon = 0, 0
        store = create_store(config["lock_store"], Limits())
        await store.open()
        while not goes_over.is_set():
            async with store.lock("c", 60) as line:
                await work(line.now_serving)
            directly += 1
        await store.close()
        async with LockClient(rabbitmq.url, namespace=namespace) as locks:
            while not done.is_set():
                async with locks.lock("c", wait=30) as ticket:
                    await work(ticket.number)
                by_daemon += 1
        return directly, by_daemon

    async with asyncio.TaskGroup() as group:
        replicas = [group.create_task(replica(goes_over)) for goes_over in over]
        await start_daemon(config)
        for goes_over in over:
            await asyncio.sleep(0.7)
            goes_over.set()
        await asyncio.sleep(0.7)
        done.set()
    assert all(directly > 3 and by_daemon > 3 for directly, by_daemon in (task.result() for task in replicas))
    assert numbers == sorted(set(numbers)), "numbers only rise, whoever issued them"
