"""A connection's opening, its end and what is hooked into it, on whichever aiormq is installed."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import aiormq
import pytest
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from harness import RabbitMQ
from lockstore.amqp.address import BrokerAddress
from lockstore.amqp.compat import on_consumer_cancel
from lockstore.amqp.errors import broker_errors
from lockstore.amqp.opening import OpeningConnection
from lockstore.errors import BrokerLostError
from tests.support.raw_publisher import TIMESTAMP, RawPublisher

LIMIT = 5000
PATIENCE_S = 60

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)


async def another_version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.write(b"AMQP\0\0\x09\x01")


async def a_frame_that_makes_no_sense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.write(struct.pack(">BHI", 1, 0, 4) + struct.pack(">HH", 10, 11) + b"\xce")


async def tuning_before_the_start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.write(struct.pack(">BHI", 1, 0, 12) + struct.pack(">HHHIH", 10, 30, 0, 0, 0) + b"\xce")


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Serve one connection in some way, and tell when the other side has closed it."""
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        with suppress(ConnectionResetError):
            await reader.read()
        closed.set()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield f"amqp://127.0.0.1:{listening.sockets[0].getsockname()[1]}", closed


async def opened(url: str) -> OpeningConnection:
    connection = OpeningConnection(url, body_limit=LIMIT)
    with broker_errors(BrokerAddress.of(url)):
        await connection.connect({"connection_name": "a test"})
    return connection


@pytest.mark.parametrize("serve", [another_version, a_frame_that_makes_no_sense, tuning_before_the_start])
async def test_who_does_not_speak_amqp_is_said_to_and_the_socket_is_closed(serve: Serve) -> None:
    async with asyncio.timeout(PATIENCE_S), server(serve) as (url, closed):
        with pytest.raises(BrokerLostError, match="does not speak AMQP 0-9-1"):
            await opened(url)
        await closed.wait()


async def test_a_socket_whose_greeting_does_not_come_is_closed() -> None:
    async with asyncio.timeout(PATIENCE_S), server(silence) as (url, closed):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await OpeningConnection(url, body_limit=LIMIT).connect()
        await closed.wait()


async def test_a_virtual_host_that_is_not_there_is_named(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(BrokerLostError, match="the virtual host nowhere does not exist"):
        await opened(f"{rabbitmq.url.rstrip('/')}/nowhere")


async def test_a_wrong_password_is_named(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(BrokerLostError, match="RabbitMQ rejected the credentials of user guest"):
        await opened(f"amqp://guest:wrong@{rabbitmq.host}:{rabbitmq.port}/")


async def test_what_pamqp_cannot_decode_ends_no_connection_and_others_are_left_alone(
    rabbitmq: RabbitMQ, namespace: str
) -> None:
    connection = await opened(rabbitmq.url)
    other = await aiormq.connect(rabbitmq.url)
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    channel = await connection.channel()
    await channel.queue_declare(namespace, exclusive=False, auto_delete=True)
    await channel.basic_consume(namespace, arrived.put, no_ack=True)
    async with asyncio.timeout(PATIENCE_S), RawPublisher(rabbitmq.url) as hostile:
        await hostile.publish("", namespace.encode(), b"one", {TIMESTAMP: b"\xff" * 8})
        await hostile.publish("", namespace.encode(), b"x" * (LIMIT + 1), {})
        first, second = await arrived.get(), await arrived.get()
    assert (first.body, first.header.properties.timestamp) == (b"one", None)
    assert 0 < len(second.body) < LIMIT
    assert not connection.is_closed
    assert type(other) is aiormq.Connection
    assert type(await other.channel()) is Channel
    await other.close()
    await connection.close()


async def test_that_the_broker_cancels_a_consumer_is_noticed_and_the_channel_goes_on(
    rabbitmq: RabbitMQ, namespace: str
) -> None:
    connection = await opened(rabbitmq.url)
    cancelled = asyncio.Event()
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    channel = cast("Channel", await connection.channel())
    on_consumer_cancel(channel, cancelled.set)
    for queue in (namespace, f"{namespace}.other"):
        await channel.queue_declare(queue, auto_delete=True)
        await channel.basic_consume(queue, arrived.put, no_ack=True)
    assert not cancelled.is_set()
    deleting = await connection.channel()
    await deleting.queue_delete(namespace)
    async with asyncio.timeout(PATIENCE_S):
        await cancelled.wait()
        await channel.basic_publish(b"still here", routing_key=f"{namespace}.other")
        assert (await arrived.get()).body == b"still here"
    await connection.close()
