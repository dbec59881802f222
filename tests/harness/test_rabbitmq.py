import asyncio
import subprocess

import aio_pika
import aiormq
import pytest
from pamqp.common import FieldTable

from harness import ProcessFailedError, RabbitMQ
from tests.harness.helpers import pids_in

QUEUE_ARGUMENTS: FieldTable = {"x-queue-type": "quorum"}


async def publish(url: str, body: bytes) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("letters", durable=True, arguments=QUEUE_ARGUMENTS)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue.name)


async def take(url: str) -> bytes:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("letters", durable=True, arguments=QUEUE_ARGUMENTS)
        async with asyncio.timeout(20):  # a quorum queue chooses its leader again after a start
            while (message := await queue.get(fail=False)) is None:
                await asyncio.sleep(0.1)
        await message.ack()
        return message.body


@pytest.mark.slow
async def test_a_node_works_keeps_its_data_over_restarts_and_leaves_nothing() -> None:
    async with RabbitMQ() as node:
        await publish(node.url, b"over a restart")
        await node.restart()
        assert await take(node.url) == b"over a restart"

        await publish(node.url, b"over a kill")
        assert await node.kill() == -9
        await node.start()
        assert await take(node.url) == b"over a kill"

        while "letters\t0" not in await node.ctl(
            "list_queues", "name", "messages"
        ):  # RabbitMQ 4 counts some time later
            await asyncio.sleep(0.1)
        with pytest.raises(subprocess.CalledProcessError):
            await node.ctl("no_such_command")
        folder = node.folder
        assert len(pids_in(folder)) > 1  # the node and its epmd
    assert pids_in(folder) == set()
    assert not folder.exists()


@pytest.mark.slow
async def test_a_start_that_fails_says_why_and_leaves_nothing() -> None:
    node = RabbitMQ({"no.such.setting": "1"})
    folder = node.folder
    with pytest.raises(ProcessFailedError, match=r"no\.such\.setting"):
        async with node:
            pass
    assert pids_in(folder) == set()
    assert not folder.exists()


async def test_connections_can_be_closed_from_outside(rabbitmq: RabbitMQ, namespace: str) -> None:
    await rabbitmq.ctl("add_vhost", namespace)
    await rabbitmq.ctl("set_permissions", "-p", namespace, "guest", ".*", ".*", ".*")
    connection = await aiormq.connect(f"{rabbitmq.url}{namespace}")
    other = await aiormq.connect(rabbitmq.url)
    await rabbitmq.ctl("close_all_connections", "-p", namespace, "a test")
    with pytest.raises(aiormq.exceptions.ConnectionClosed):
        await connection.closing
    assert not other.is_closed
    await other.close()
    await rabbitmq.ctl("delete_vhost", namespace)
