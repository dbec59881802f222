"""Replicas that go away: waiters that are cut off, holders that stop."""

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from daemon.serving.sweeper import PATROL_S
from harness import RabbitMQ, RedisServer
from lockstore.stores.redis.keys import ConcurrentKeys
from tests.conftest import DaemonMaker
from tests.support.bot import Bot

HOLDER = """
import asyncio, sys
from tests.support.bot import Bot

async def main():
    url, namespace = sys.argv[1:]
    async with Bot(url, namespace) as bot:
        granted = await bot.lock("c", lifetime=1)
        print("holding", granted["ticket_number"], flush=True)
        await asyncio.sleep(1)  # stopped here, for longer than its lease
        await bot.release("c", ticket_number=granted["ticket_number"])
        answer = await bot.expect("rejected")
        print(answer["reason"], answer["ended"], flush=True)

asyncio.run(main())
"""


async def test_a_waiter_that_is_cut_off_is_skipped_at_its_turn(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str
) -> None:
    await start_daemon(config)
    holding = await bot.lock("c", lifetime=60)
    async with Bot(rabbitmq.url, namespace) as gone:
        for _ in range(5):
            await gone.request("c", lifetime=60, wait=60)
            await gone.expect("queued")
        # Cut, without any farewell.
        transport: Any = gone.connection.transport
        transport.connection._writer_task.cancel()
        await gone.connection.close()
    await bot.request("c", "patient", wait=60)
    await bot.expect("queued", request_id="patient", position=6)
    started = time.monotonic()
    await bot.release("c", ticket_number=holding["ticket_number"])
    granted = await bot.expect("granted", request_id="patient")
    took_s = time.monotonic() - started
    print(f"five waiters that were cut off were skipped in {took_s * 1000:.1f} ms")
    assert granted["ticket_number"] == holding["ticket_number"] + 6
    assert took_s < PATROL_S / 2, "they were found by the patrol or at their deadline, not at their turn"


async def test_a_holder_stopped_past_its_lease_is_followed_by_the_next(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str
) -> None:
    await start_daemon(config)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, rabbitmq.url, namespace, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    assert holder.stdout is not None
    assert (await holder.stdout.readline()).startswith(b"holding 1")
    holder.send_signal(signal.SIGSTOP)
    try:
        await bot.request("c", "next", lifetime=60)
        granted = await bot.expect("granted", request_id="next")
    finally:
        holder.send_signal(signal.SIGCONT)
    assert (await holder.stdout.readline()) == b"finished expired\n"
    assert await holder.wait() == 0
    # Its late release changed nothing: the next one still holds, and can renew.
    await bot.say("renew", "c", ticket_number=granted["ticket_number"], lifetime=60)
    await bot.expect("renewed", request_id="next")


@pytest.mark.parametrize("kind", ["in_memory", "redis", "concurrent_redis"])
async def test_deadlines_come_by_themselves(
    kind: str, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    config["lock_store"] = {"type": kind} if kind == "in_memory" else config["lock_store"] | {"type": kind}
    await start_daemon(config)
    await bot.request("c", "holder", lifetime=0.5, wait=0)
    await bot.request("c", "impatient", lifetime=60, wait=0.2)
    await bot.request("c", "patient", lifetime=60, wait=60)
    expired = await bot.expect("expired", request_id="impatient")
    assert expired["phase"] == "waiting"
    ended = await bot.expect("expired", request_id="holder")
    assert ended["phase"] == "held"
    granted = await bot.expect("granted", request_id="patient")
    assert granted["at"] == ended["at"], "the next is granted in the same step"


async def test_a_damaged_conversation_does_not_keep_the_sweeper_busy(
    config: dict[str, Any], redis_server: RedisServer, start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config)
    await bot.lock("damaged", lifetime=0.5)
    keys = ConcurrentKeys(config["lock_store"]["key_prefix"])
    tickets = keys.of_line("damaged", keys.shard_of("damaged"))[2]
    async with redis.Redis(host=redis_server.host, port=redis_server.port, db=1) as client:
        await client.delete(tickets)
        await client.set(tickets, "another program's")
    async with asyncio.timeout(20):
        while len(daemon.events("sweep.conversation_failed")) < 2:
            await asyncio.sleep(0.05)
    # Other lines are served meanwhile, and it is tried again with each patrol, not as fast as it can be.
    await bot.lock("sound", lifetime=0.5)
    await bot.expect("expired", conversation_id="sound")
    before, started = len(daemon.events("sweep.conversation_failed")), time.monotonic()
    await asyncio.sleep(3 * PATROL_S)
    tries = len(daemon.events("sweep.conversation_failed")) - before
    assert tries <= (time.monotonic() - started) / PATROL_S + 1
