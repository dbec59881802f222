"""The connection to RabbitMQ: how it is made, how its end is noticed, and what its errors say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError

from daemon.settings import BrokerSettings
from lockstore.amqp.transport import FilteringTransport
from lockstore.errors import BrokerLostError, ConfigError
from lockstore.tls import certificate_fault, tls_context
from lockstore.wire import BODY_MAX_BYTES

__all__ = [
    "LOST",
    "FilteredConnection",
    "connected",
    "innermost",
    "is_blocked",
    "opened",
    "raise_when_closed",
    "raw",
    "refusal",
    "told",
]

LOST = (BrokerLostError, AMQPError, ChannelInvalidStateError, ConnectionError, OSError, TimeoutError)
"""What a connection that is gone, or cannot be made for now, is told by."""

_CLOSE_S = 5.0  # for a farewell; a broker that is gone does not answer one


class FilteredConnection(aio_pika.Connection):
    """A connection that no message can end, however it is written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what aio-pika's own connection takes."""
        super().__init__(*args, **kwargs)
        self.kwargs["transport_factory"] = FilteringTransport(BODY_MAX_BYTES)  # for aiormq


@asynccontextmanager
async def connected(broker: BrokerSettings) -> AsyncIterator[AbstractConnection]:
    """Connect, and close at the end. Raises one of LOST, or ConfigError for certificates that cannot be loaded."""
    connection = await _connect(broker)
    try:
        yield connection
    finally:
        await _close(connection)


async def _connect(broker: BrokerSettings) -> AbstractConnection:
    try:
        return await aio_pika.connect(
            broker.url.get_secret_value(),
            ssl_context=tls_context(broker, "broker") if broker.speaks_tls else None,
            heartbeat=broker.heartbeat,
            client_properties={"connection_name": "lockstore"},
            connection_class=FilteredConnection,
        )
    except StopAsyncIteration:  # so aiormq tells, now and then, that the other side hung up during the greeting
        raise BrokerLostError("the connection was closed while it was made") from None


async def _close(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.close()
    except LOST:
        pass  # it was gone already
    except asyncio.CancelledError:
        # aiormq passes on the cancellation of its own reader; only ours may go on from here.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


async def opened(connection: AbstractConnection, **options: bool) -> AbstractChannel:
    """Open a channel. Raises one of LOST: of a connection that is gone aiormq says so by a bare RuntimeError."""
    try:
        return await connection.channel(**options)
    except RuntimeError as error:
        raise BrokerLostError(str(error)) from error


async def raw(channel: AbstractChannel) -> Channel:
    """Give the channel below aio-pika's, which publishes without waiting for the socket each time."""
    below = await channel.get_underlay_channel()
    assert isinstance(below, Channel)  # noqa: S101 - aio-pika opens no other kind
    return below


async def raise_when_closed(connection: AbstractConnection) -> None:
    """Wait for the connection's end, which aio-pika's own `closed()` tells only when we close it ourselves."""
    transport = connection.transport
    assert transport is not None  # noqa: S101 - it is connected
    await asyncio.wait([transport.connection.closing])
    raise BrokerLostError("the connection was closed")


async def is_blocked(connection: AbstractConnection) -> bool:
    """Tell whether RabbitMQ takes nothing from this connection for now: it is short of memory or disk."""
    transport = connection.transport
    assert transport is not None  # noqa: S101 - it is connected
    try:
        async with asyncio.timeout(0):
            await transport.connection.ready()  # at once, or when RabbitMQ takes messages again
    except TimeoutError:
        return True
    return False


def innermost(error: BaseException) -> BaseException:
    """Take an error out of the groups that it came in; of several, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def told(error: BaseException) -> str:
    """Say in one line what ended a connection."""
    error = innermost(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def refusal(error: BaseException) -> ConfigError | None:
    """Find out whether a certificate, the broker's or ours, was at fault: it will be no better the next time."""
    fault = certificate_fault(innermost(error))
    if fault is None:
        return None
    option = "url" if fault.option == "host" else fault.option
    return ConfigError(f"broker.{option}: {fault.what}; {fault.remedy}")
