"""How many partitions there are: who decides it, who is told, and who is refused."""

import asyncio
import zlib
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from harness import DaemonProcess, ProcessFailedError, RabbitMQ
from lockstore.client import LockClient
from tests.conftest import DaemonMaker
from tests.partitions.command import with_partitions
from tests.support.bot import Bot
from tests.support.serve import run_serve


async def stands(rabbitmq: RabbitMQ, namespace: str, numbers: range) -> list[int]:
    """Give those request queues of a range that stand."""
    found = []
    async with await aio_pika.connect(rabbitmq.url) as connection:
        for number in numbers:
            channel = await connection.channel()
            try:
                await channel.get_queue(f"{namespace}.requests.{number}")
            except aio_pika.exceptions.ChannelNotFoundEntity:
                continue
            found.append(number)
            await channel.close()
    return found


async def delete(rabbitmq: RabbitMQ, namespace: str, *numbers: int) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        for number in numbers:
            await channel.queue_delete(f"{namespace}.requests.{number}")


async def test_each_partition_serves_its_conversations_and_answers_the_others_with_the_number(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    await start_daemon(with_partitions(config, 4))
    for place in range(12):
        conversation = f"user-{place}"
        right = zlib.crc32(conversation.encode()) % 4
        for partition in range(4):
            request_id = f"{place}-{partition}"
            await bot.say("request", conversation, partition=partition, request_id=request_id)
            if partition == right:
                await bot.expect("granted", request_id=request_id)
            else:
                answer = await bot.expect("rejected", request_id=request_id)
                assert (answer["reason"], answer["partitions"], answer["ticket_number"]) == ("wrong_partition", 4, None)


async def test_clients_that_believe_in_another_number_correct_themselves(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, namespace: str
) -> None:
    await start_daemon(with_partitions(config, 4))
    for turn, believed in enumerate([1, 9]):
        async with LockClient(rabbitmq.url, namespace=namespace, partitions=believed) as locks:

            async def hold(conversation: str, locks: LockClient = locks) -> int:
                async with locks.lock(conversation, wait=30, lifetime=30) as ticket:
                    return ticket.number

            assert await asyncio.gather(*(hold(f"{turn}-{place}") for place in range(20))) == [1] * 20
            assert await asyncio.gather(*(hold(f"{turn}-1") for _ in range(5))) == [2, 3, 4, 5, 6]


async def test_a_daemon_with_another_number_is_refused_and_told_both(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    first = await start_daemon(with_partitions(config, 4))
    for here in (2, 8):
        refused = await asyncio.to_thread(run_serve, with_partitions(config, here), tmp_path)
        assert refused.returncode == 2
        assert f"broker.partitions: is {here} here" in refused.stderr
        assert "has 4 on the broker" in refused.stderr
        assert "lockstore repartition" in refused.stderr
        assert "Traceback" not in refused.stderr
    conversation = next(f"c{place}" for place in range(99) if zlib.crc32(f"c{place}".encode()) % 4 == 0)
    await bot.lock(conversation)
    assert first.running


async def test_two_that_start_at_once_on_a_fresh_broker_agree_on_one_number(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, namespace: str
) -> None:
    starting = [start_daemon(with_partitions(config, number)) for number in (5, 3, 5, 3)]
    ended = await asyncio.gather(*starting, return_exceptions=True)
    served = {daemon.config["broker"]["partitions"] for daemon in ended if isinstance(daemon, DaemonProcess)}
    refused = [str(error) for error in ended if isinstance(error, ProcessFailedError)]
    assert len(served) == 1
    assert len(refused) == 2
    assert all("broker.partitions" in error for error in refused)
    (number,) = served
    assert await stands(rabbitmq, namespace, range(8)) == list(range(number))


@pytest.mark.parametrize("missing", [(2,), (0, 1, 2)])
async def test_queues_that_are_missing_below_the_last_one_are_declared_again(
    missing: tuple[int, ...], rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, namespace: str
) -> None:
    """Somebody has deleted one; or a first start was killed half-way, which leaves the upper ones."""
    daemon = await start_daemon(with_partitions(config, 4))
    await daemon.stop()
    await delete(rabbitmq, namespace, *missing)
    await daemon.start()
    assert await stands(rabbitmq, namespace, range(6)) == [0, 1, 2, 3]


async def test_a_smaller_number_is_told_from_a_start_that_was_killed_half_way(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, namespace: str, tmp_path: Path
) -> None:
    await (await start_daemon(with_partitions(config, 4))).stop()
    await delete(rabbitmq, namespace, 0, 1)
    refused = await asyncio.to_thread(run_serve, with_partitions(config, 2), tmp_path)
    assert refused.returncode == 2
    assert "has 4 on the broker" in refused.stderr
