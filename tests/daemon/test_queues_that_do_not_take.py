"""Queues that take nothing: one that is gone, one that refuses, one that never confirms. All others are served meanwhile."""

import asyncio
import json
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from harness import DaemonProcess, RabbitMQ
from tests.conftest import DaemonMaker
from tests.support.bot import PATIENCE_S, Bot

HTTP = {"http": "127.0.0.1:0"}
FULL: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}


@asynccontextmanager
async def suspended(rabbitmq: RabbitMQ, queue: str) -> AsyncIterator[None]:
    """Have the process of one quorum queue stand still: it neither confirms nor refuses."""
    process = f'Name = rabbit_misc:r(<<"/">>, queue, <<"{queue}">>), {{ok, Q}} = rabbit_amqqueue:lookup(Name), P = whereis(element(1, amqqueue:get_pid(Q))), '
    await rabbitmq.ctl("eval", process + "sys:suspend(P).")
    try:
        yield
    finally:
        await rabbitmq.ctl("eval", process + "sys:resume(P).")


async def cycles(bot: Bot, name: str, number: int) -> list[float]:
    """Lock and release so many times, and give how long each lock took."""
    took: list[float] = []
    for place in range(number):
        began = time.perf_counter()
        granted = await bot.lock(f"{name}-{place % 5}")
        took.append(time.perf_counter() - began)
        await bot.release(f"{name}-{place % 5}", ticket_number=granted["ticket_number"])
    return took


async def drained(bot: Bot, queue: str, wanted: int) -> list[dict[str, Any]]:
    """Read so many messages out of a queue."""
    found: list[dict[str, Any]] = []
    taken = await bot.channel.get_queue(queue, ensure=False)
    async with asyncio.timeout(PATIENCE_S * 2):
        while len(found) < wanted:
            message = await taken.get(no_ack=True, fail=False)
            if message is None:
                await asyncio.sleep(0.05)
            else:
                found.append(json.loads(message.body))
    return found


async def asked(daemon: DaemonProcess, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        with urllib.request.urlopen(daemon.http_url + path, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()

    return await asyncio.to_thread(get)


async def test_a_dead_waiter_that_asked_twice_in_one_batch_is_skipped_at_once(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    """Two reconnects while the daemon was away: the same request with two reply queues that are both gone."""
    first = await start_daemon(config)
    await first.stop()
    body = {"type": "request", "conversation_id": "c", "request_id": "dead", "lifetime": 3600, "wait": 60}
    for queue in ("gone-1", "gone-2"):
        await bot.send(json.dumps(body).encode(), reply_to=f"{bot.namespace}.{queue}")
    await bot.request("c", "next", wait=60)
    await start_daemon(config)
    granted = await bot.expect("granted", request_id="next")
    assert granted["ticket_number"] == 2


async def test_a_reply_queue_that_is_gone_harms_no_ticket_that_has_another_by_now(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    first = await start_daemon(config)
    await first.stop()
    body = {"type": "request", "conversation_id": "c", "request_id": "again", "lifetime": 60, "wait": 60}
    await bot.send(json.dumps(body).encode(), reply_to=f"{bot.namespace}.gone")
    await bot.send(json.dumps(body).encode())
    await start_daemon(config)
    granted = await bot.expect("granted", request_id="again")
    await bot.say("renew", "c", ticket_number=granted["ticket_number"], lifetime=60)
    await bot.expect("renewed")


async def test_a_reply_queue_that_refuses_holds_up_nobody_and_hears_all_in_the_end(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config | {"daemon": HTTP})
    queue = f"{bot.namespace}.full"
    await bot.channel.declare_queue(queue, arguments=FULL, exclusive=True)
    for place in range(150):
        body = {"type": "request", "conversation_id": f"evil-{place}", "request_id": "r", "lifetime": 600}
        await bot.send(json.dumps(body).encode(), reply_to=queue)
    await cycles(bot, "good", 20)
    heard = await drained(bot, queue, 150)
    told = Counter(item["conversation_id"] for item in heard if item["type"] == "granted")
    print(f"{len(told)} grants heard, {sum(told.values()) - len(told)} twice")
    assert set(told.values()) == {1}
    assert len(told) == 150
    status, _ = await asked(daemon, "readyz")
    assert status == 200


async def test_a_refusal_that_a_full_queue_does_not_take_is_repeated_by_the_next_daemon(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    """`rejected` stands in no outbox: its request is acknowledged only when RabbitMQ has the answer."""
    daemon = await start_daemon(config | {"daemon": HTTP})
    queue = f"{bot.namespace}.full"
    await bot.channel.declare_queue(queue, arguments=FULL, exclusive=True)
    await bot.lock("held", lifetime=600)
    asked_for = [f"r{place}" for place in range(40)]
    for request_id in asked_for:
        body = {"type": "request", "conversation_id": "held", "request_id": request_id, "wait": 0}
        await bot.send(json.dumps(body).encode(), reply_to=queue)
    async with asyncio.timeout(PATIENCE_S):
        while 'lockstore_rejections_total{reason="busy"} 40.0' not in (await asked(daemon, "metrics"))[1]:
            await asyncio.sleep(0.05)
    await cycles(bot, "good", 10)
    await daemon.kill()
    await start_daemon(config)
    missing = set(asked_for)
    async with asyncio.timeout(PATIENCE_S * 2):
        while missing:
            [answer] = await drained(bot, queue, 1)
            missing.discard(answer["request_id"])


async def test_a_follower_that_refuses_repeats_no_reply_and_hears_all_in_order_in_the_end(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    await start_daemon(config)
    queue = f"{bot.namespace}.follower"
    follower = await bot.channel.declare_queue(queue, arguments=FULL, exclusive=True)
    await follower.bind(f"{bot.namespace}.events", "#")
    await cycles(bot, "good", 30)
    heard = await drained(bot, queue, 60)
    await asyncio.sleep(0)
    replies = Counter((item["conversation_id"], item["ticket_number"], item["type"]) for item in bot.answers)
    assert set(replies.values()) == {1}
    for name in {item["conversation_id"] for item in heard}:
        told = [(item["ticket_number"], item["type"]) for item in heard if item["conversation_id"] == name]
        assert told == sorted(told), f"{name} out of order"


async def test_a_reply_queue_that_never_confirms_holds_up_nobody(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config | {"daemon": HTTP})
    queue = f"{bot.namespace}.stuck"
    await bot.channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    body = {"type": "request", "conversation_id": "stuck", "request_id": "r", "lifetime": 600}
    await bot.send(json.dumps(body).encode(), reply_to=queue)  # so that the daemon's channel has met the queue
    await drained(bot, queue, 1)
    before = await cycles(bot, "good", 60)
    async with suspended(rabbitmq, queue):
        for place in range(200):  # far more than its window
            body = {"type": "request", "conversation_id": f"stuck-{place}", "request_id": "r", "lifetime": 600}
            await bot.send(json.dumps(body).encode(), reply_to=queue)
        during = await cycles(bot, "good", 60)
        ready, said = await until_troubled(daemon)
        _, metrics = await asked(daemon, "metrics")
    print(f"median {statistics.median(before) * 1000:.1f} ms before, {statistics.median(during) * 1000:.1f} ms during")
    assert ready == 200
    assert queue in said
    assert 'lockstore_events_unconfirmed{to="reply"} 200.0' in metrics
    assert max(during) < PATIENCE_S / 2
    heard = await drained(bot, queue, 200)
    assert {item["conversation_id"] for item in heard} == {f"stuck-{place}" for place in range(200)}
    assert len(heard) == 200
    assert not daemon.events("pipeline.stalled")


async def test_queues_that_are_suspended_before_the_daemon_has_met_them_hold_up_nobody(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    """RabbitMQ stops a channel at its first message to such a queue, and with it everything that comes after."""
    daemon = await start_daemon(config)
    stuck = [f"{bot.namespace}.stuck-{place}" for place in range(2)]
    new = [await bot.channel.declare_queue(exclusive=True) for _ in range(10)]
    await cycles(bot, "good", 20)
    async with AsyncExitStack() as stack:
        for queue in stuck:
            await bot.channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
            await stack.enter_async_context(suspended(rabbitmq, queue))
        for place, queue in enumerate(
            [stuck[0], new[0].name, new[1].name, stuck[1], *(queue.name for queue in new[2:])]
        ):
            body = {"type": "request", "conversation_id": f"c{place}", "request_id": "r", "lifetime": 600}
            await bot.send(json.dumps(body).encode(), reply_to=queue)
        for place in range(40):  # to one of them still more, which is not to stop it again
            body = {"type": "request", "conversation_id": f"more-{place}", "request_id": "r", "lifetime": 600}
            await bot.send(json.dumps(body).encode(), reply_to=stuck[0])
        during = await cycles(bot, "good", 60)
        for found in new:
            [answer] = await drained(bot, found.name, 1)
            assert answer["type"] == "granted"
        async with asyncio.timeout(PATIENCE_S):
            while len(daemon.events("reply_queue.isolated")) < len(stuck):
                await asyncio.sleep(0.05)
        print(f"longest of others {max(during) * 1000:.0f} ms, median {statistics.median(during) * 1000:.1f} ms")
    heard = await drained(bot, stuck[0], 41)
    assert {item["conversation_id"] for item in heard} >= {f"more-{place}" for place in range(39)}
    await drained(bot, stuck[1], 1)
    assert not daemon.events("broker.lost")


async def until_troubled(daemon: DaemonProcess) -> tuple[int, str]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status, body = await asked(daemon, "readyz")
            if json.loads(body)["notes"]:
                return status, body
            await asyncio.sleep(0.1)


async def test_a_follower_that_never_confirms_holds_up_nobody_and_hears_all_in_order_later(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config | {"daemon": HTTP})
    queue = f"{bot.namespace}.follower"
    follower = await bot.channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    await follower.bind(f"{bot.namespace}.events", "#")
    await cycles(bot, "good", 5)
    await drained(bot, queue, 10)  # so that the daemon's channel has met the queue
    async with suspended(rabbitmq, queue):
        await cycles(bot, "good", 150)  # 300 events: more than may be outstanding
        status, said = await until_troubled(daemon)
    assert status == 200
    assert "public events" in said
    heard = await drained(bot, queue, 300)
    assert len({(item["conversation_id"], item["ticket_number"], item["type"]) for item in heard}) == 300
    for name in {item["conversation_id"] for item in heard}:
        told = [(item["ticket_number"], item["type"]) for item in heard if item["conversation_id"] == name]
        assert told == sorted(told), f"{name} out of order"
    replies = Counter((item["conversation_id"], item["ticket_number"], item["type"]) for item in bot.answers)
    assert set(replies.values()) == {1}


async def test_public_events_beyond_the_bound_are_given_up_and_counted(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config | {"daemon": HTTP | {"outbox_events": 10}})
    for name in ("full", "healthy"):
        arguments = FULL if name == "full" else None
        follower = await bot.channel.declare_queue(f"{bot.namespace}.{name}", arguments=arguments, exclusive=True)
        await follower.bind(f"{bot.namespace}.events", "#")
    await cycles(bot, "good", 50)
    async with asyncio.timeout(PATIENCE_S):
        while 'lockstore_events_unconfirmed{to="public"} 10.0' not in (await asked(daemon, "metrics"))[1]:
            await asyncio.sleep(0.1)
    _, metrics = await asked(daemon, "metrics")
    [given_up] = [line for line in metrics.splitlines() if line.startswith("lockstore_events_given_up_total ")]
    print(given_up)
    assert float(given_up.split()[1]) >= 80
    healthy = await bot.channel.get_queue(f"{bot.namespace}.healthy", ensure=False)
    heard: set[tuple[str, int, str]] = set()  # what is refused is told to it more than once
    async with asyncio.timeout(PATIENCE_S):
        while len(heard) < 90:
            if (message := await healthy.get(no_ack=True, fail=False)) is None:
                await asyncio.sleep(0.05)
            else:
                item = json.loads(message.body)
                heard.add((item["conversation_id"], item["ticket_number"], item["type"]))
