"""The connection to RabbitMQ: how it is made, how its end is noticed, and what its errors say."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, UnderlayConnection
from aiormq.abc import AbstractConnection as AiormqConnection
from aiormq.channel import Channel
from yarl import URL

from daemon.config.settings import BrokerSettings
from lockstore.amqp.errors import BROKER, CONNECTION_ERRORS, BrokerAddress, broker_errors, describe_error, innermost
from lockstore.amqp.opening import OpeningConnection
from lockstore.errors import BrokerLostError, ConfigError
from lockstore.protocol.codec import BODY_MAX_BYTES
from lockstore.util.tls import certificate_fault, tls_context

__all__ = [
    "CONNECTION_ERRORS",
    "FilteredConnection",
    "address_of",
    "as_config_error",
    "connect",
    "innermost",
    "is_blocked",
    "open_channel",
    "raise_when_closed",
    "raise_when_one_closes",
    "say_what_ended",
    "underlying_channel",
]

_CLOSE_S = 5.0  # for a farewell; a broker that is gone does not answer one


class _Underlay(UnderlayConnection):
    """What aio-pika keeps of aiormq's connection."""

    @classmethod
    async def make_connection(cls, url: URL, timeout: Any = None, **kwargs: Any) -> AiormqConnection:  # noqa: ASYNC109 - aio-pika's name
        connection = OpeningConnection(url, body_limit=BODY_MAX_BYTES, **kwargs)
        async with asyncio.timeout(timeout):
            await connection.connect()
            await connection.ready()
        return connection


class FilteredConnection(aio_pika.Connection):
    """A connection that no message can end, however it is written, and that tells why it could not be opened."""

    async def connect(self, timeout: Any = None) -> None:  # noqa: ASYNC109 - aio-pika's name
        """Connect, as aio-pika's own connection does."""
        self.transport = await _Underlay.connect(self.url, self._on_connection_close, timeout=timeout, **self.kwargs)
        await self._on_connected()


def address_of(broker: BrokerSettings) -> BrokerAddress:
    """Say where `broker.url` leads, without its password."""
    return BrokerAddress.of(broker.url.get_secret_value())


@asynccontextmanager
async def connect(broker: BrokerSettings) -> AsyncIterator[AbstractConnection]:
    """Connect, and close at the end. Raises one of CONNECTION_ERRORS, or ConfigError for certificates that cannot be loaded."""
    connection = await _connect(broker)
    try:
        yield connection
    finally:
        await _close(connection)


async def _connect(broker: BrokerSettings) -> AbstractConnection:
    with broker_errors(address_of(broker)):
        return await aio_pika.connect(
            broker.url.get_secret_value(),
            ssl_context=tls_context(broker, "broker") if broker.speaks_tls else None,
            heartbeat=broker.heartbeat,
            client_properties={"connection_name": "lockstore"},
            connection_class=FilteredConnection,
        )


async def _close(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.close()
    except CONNECTION_ERRORS:
        pass  # it was gone already
    except asyncio.CancelledError:
        # aiormq passes on the cancellation of its own reader; only ours may go on from here.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


async def open_channel(connection: AbstractConnection, **options: bool) -> AbstractChannel:
    """Open a channel. Raises one of CONNECTION_ERRORS: of a connection that is gone aiormq says so by a bare RuntimeError."""
    try:
        return await connection.channel(**options)
    except RuntimeError as error:
        raise BrokerLostError(str(error)) from error


async def underlying_channel(channel: AbstractChannel) -> Channel:
    """Give the channel below aio-pika's, which publishes without waiting for the socket each time."""
    below = await channel.get_underlay_channel()
    assert isinstance(below, Channel)  # noqa: S101 - aio-pika opens no other kind
    return below


async def raise_when_closed(connection: AbstractConnection, broker: BrokerSettings) -> None:
    """Wait for the connection's end, which aio-pika's own `closed()` tells only when we close it ourselves."""
    transport = connection.transport
    assert transport is not None  # noqa: S101 - it is connected
    below = transport.connection
    await asyncio.wait([below.closing])
    with broker_errors(address_of(broker), below):
        await below.closing
    raise BrokerLostError("the connection was closed")


async def raise_when_one_closes(channels: Sequence[Channel]) -> None:
    """Wait for the end of the first of these channels, where the connection itself goes on."""
    closing = {channel.closing: channel for channel in channels}
    ended, _ = await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
    for future in ended:
        if not closing[future].connection.is_closed:
            with broker_errors(BROKER, closing[future]):
                await future
            raise BrokerLostError("the channel was closed")


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


def say_what_ended(error: BaseException, address: BrokerAddress = BROKER) -> str:
    """Say in one sentence what ended a connection."""
    return describe_error(error, address).what


def as_config_error(error: BaseException) -> ConfigError | None:
    """Find out whether a certificate, the broker's or ours, was at fault: it will be no better the next time."""
    fault = certificate_fault(innermost(error))
    if fault is None:
        return None
    option = "url" if fault.option == "host" else fault.option
    return ConfigError(f"broker.{option}: {fault.what}; {fault.remedy}")
