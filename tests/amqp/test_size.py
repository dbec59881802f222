"""However large messages are, and however many: the daemon's memory and the dead letters stay small."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness import RabbitMQ
from tests.conftest import DaemonMaker
from tests.support.bot import PATIENCE_S, Bot, dead_letters
from tests.support.raw_publisher import RawPublisher
from tests.support.serve import run_serve

MIB = 2**20


@pytest_asyncio.fixture
async def publisher(rabbitmq: RabbitMQ) -> AsyncIterator[RawPublisher]:
    async with RawPublisher(rabbitmq.url) as connected:
        yield connected


def peak_memory(pid: int) -> int:
    """Give the most bytes that a process ever had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.slow
async def test_large_bodies_are_not_held_in_memory(
    bot: Bot, publisher: RawPublisher, config: dict[str, Any], start_daemon: DaemonMaker
) -> None:
    daemon = await start_daemon(config)
    await bot.lock("before")
    before = peak_memory(daemon.pid)
    for _ in range(8):
        await publisher.publish(f"{bot.namespace}.requests", b"0", bytes(16 * MIB), {})
    await bot.lock("after")
    assert peak_memory(daemon.pid) - before < 16 * MIB
    letters = await dead_letters(bot, 8)
    assert {letter.headers["x-error-reason"] for letter in letters} == {"too_large"}
    assert sum(len(letter.body) for letter in letters) == 8 * 4096


async def test_dead_letters_are_bounded_by_their_bytes(
    bot: Bot, publisher: RawPublisher, config: dict[str, Any], start_daemon: DaemonMaker
) -> None:
    config["broker"]["dead_letters_bytes"] = MIB
    daemon = await start_daemon(config)
    for place in range(40):
        await publisher.publish(f"{bot.namespace}.requests", b"0", bytes([place]) * 60_000, {})
    async with asyncio.timeout(PATIENCE_S):
        while sum(served["parked"] for served in daemon.events("batch.served")) < 40:
            await asyncio.sleep(0.05)
    queue = await bot.channel.declare_queue(f"{bot.namespace}.dead-letters", passive=True)
    assert queue.declaration_result.message_count == MIB // 60_000


async def test_a_queue_of_dead_letters_with_other_bounds_stops_the_start_and_the_remedy_is_told(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    await bot.channel.declare_queue(
        f"{bot.namespace}.dead-letters", durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 10_000}
    )
    refused = await asyncio.to_thread(run_serve, config, tmp_path)
    assert refused.returncode == 2
    assert "x-max-length-bytes" in refused.stderr
    assert "rabbitmqctl delete_queue" in refused.stderr
    await bot.channel.queue_delete(f"{bot.namespace}.dead-letters")
    await start_daemon(config)
    await bot.lock("served")
