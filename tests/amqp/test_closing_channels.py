"""However late a channel's end is confirmed, and whoever stops waiting for it, the connection and its other channels go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import pytest
from aiormq.channel import Channel

from harness import RabbitMQ
from lockstore.amqp.opening import OpeningConnection
from tests.support.proxy import Proxy

PATIENCE_S = 20
BULKY = bytes(30_000_000)  # more than the buffers of all sockets on its way hold


@pytest.fixture
async def proxy(rabbitmq: RabbitMQ) -> AsyncIterator[Proxy]:
    async with Proxy(rabbitmq.host, rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture
async def connection(proxy: Proxy) -> AsyncIterator[OpeningConnection]:
    connection = OpeningConnection(proxy.url, body_limit=5000)
    await connection.connect()
    yield connection
    proxy.cut()
    connection.abort()
    with suppress(Exception):
        await connection.close()


async def opened(connection: OpeningConnection) -> Channel:
    return cast("Channel", await connection.channel())


async def stop(task: "asyncio.Task[object]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def assert_well(connection: OpeningConnection, *others: Channel) -> None:
    """Use what was open before, and as many new channels as take the numbers that are free."""
    async with asyncio.timeout(PATIENCE_S):
        for channel in (*others, *[await opened(connection) for _ in range(3)]):
            await channel.queue_declare(exclusive=True)
            await channel.basic_publish(b"", routing_key="nowhere")
    assert not connection.is_closed


async def test_a_channel_is_closed_once_when_whoever_waits_for_it_stops(
    connection: OpeningConnection, proxy: Proxy
) -> None:
    other, channel = await opened(connection), await opened(connection)
    proxy.answers.hold()
    closing = asyncio.create_task(channel.close())
    await proxy.answers.caught.wait()
    await stop(closing)
    await channel.close()
    proxy.answers.release()
    await assert_well(connection, other)


async def test_a_channel_whose_call_was_broken_off_is_used_no_more(connection: OpeningConnection, proxy: Proxy) -> None:
    other, channel = await opened(connection), await opened(connection)
    proxy.answers.hold()
    calling = asyncio.create_task(channel.queue_declare(exclusive=True))
    await proxy.answers.caught.wait()
    await stop(calling)  # aiormq says Channel.Close
    for tag in range(1, 4):
        with suppress(Exception):
            await channel.basic_ack(tag)
    await channel.close()
    proxy.answers.release()
    await assert_well(connection, other)


async def test_a_channel_that_both_sides_close_at_once_leaves_its_number_usable(
    connection: OpeningConnection, proxy: Proxy
) -> None:
    other = await opened(connection)
    for _ in range(3):
        channel = await opened(connection)
        proxy.answers.hold()
        calling = asyncio.create_task(channel.queue_declare("nowhere", passive=True))
        await proxy.answers.caught.wait()  # that RabbitMQ closed it
        await stop(calling)
        proxy.answers.release()
        await assert_well(connection, other)


async def test_a_channel_that_rabbitmq_closes_is_confirmed_though_nothing_can_be_sent_for_now(
    connection: OpeningConnection, proxy: Proxy, namespace: str
) -> None:
    others = [await opened(connection) for _ in range(14)]  # of each, one message at a time is in aiormq's buffer
    channel = await opened(connection)
    proxy.answers.hold()
    calling = asyncio.create_task(channel.queue_declare("nowhere", passive=True))
    await proxy.answers.caught.wait()
    proxy.requests.hold()
    sending = [asyncio.create_task(others[0].basic_publish(BULKY, routing_key=namespace))]
    await asyncio.sleep(0)
    sending += [asyncio.create_task(other.basic_publish(b"", routing_key=namespace)) for other in others[1:]]
    async with asyncio.timeout(PATIENCE_S):
        while not connection.write_queue.full():
            await asyncio.sleep(0.01)
    proxy.answers.release()
    await asyncio.gather(calling, return_exceptions=True)
    proxy.requests.release()
    await asyncio.wait(sending, timeout=PATIENCE_S)
    await assert_well(connection, others[0])


async def test_messages_on_their_way_to_a_closed_channel_hold_up_no_other(
    connection: OpeningConnection, proxy: Proxy, namespace: str
) -> None:
    other, channel = await opened(connection), await opened(connection)
    await other.queue_declare(namespace)
    for _ in range(100):
        await other.basic_publish(b"x", routing_key=namespace)
    proxy.answers.hold()
    consuming = asyncio.create_task(channel.basic_consume(namespace, ignore))
    await proxy.answers.caught.wait()
    await stop(consuming)
    await channel.close()
    proxy.answers.release()
    await assert_well(connection, other)
    await other.queue_delete(namespace)


async def ignore(_: object) -> None:
    """Leave a message unacknowledged."""
