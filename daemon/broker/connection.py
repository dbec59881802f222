"""The connection to RabbitMQ: how it is made, how its end is noticed, and what its errors say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any, ParamSpec, TypeVar, cast

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, UnderlayConnection
from aiormq.abc import AbstractBase
from aiormq.abc import AbstractConnection as AiormqConnection
from aiormq.channel import Channel
from aiormq.exceptions import InvalidFrameError
from pamqp.commands import Basic
from yarl import URL

from daemon.config.settings import BrokerSettings
from lockstore.amqp.address import BROKER, BrokerAddress
from lockstore.amqp.compat import FRAME_ERRORS
from lockstore.amqp.errors import CONNECTION_ERRORS, broker_errors, describe_error, innermost
from lockstore.amqp.frame_filter import FrameFilter
from lockstore.amqp.hosts import BrokerHosts, Endpoint
from lockstore.amqp.opening import OpeningConnection
from lockstore.errors import BrokerLostError, ConfigError, LockstoreError
from lockstore.protocol.codec import BODY_MAX_BYTES
from lockstore.util.cancellation import CancelRequest, keep_cancellation, try_within
from lockstore.util.tls import certificate_fault, tls_context

__all__ = [
    "CONNECTION_ERRORS",
    "FilteredConnection",
    "address_of",
    "as_config_error",
    "connect",
    "frames_of",
    "hosts_of",
    "innermost",
    "is_blocked",
    "is_end",
    "on_delivery_failure",
    "open_channel",
    "or_lost",
    "raise_when_closed",
    "raise_when_one_closes",
    "reader_failure",
    "say_what_ended",
    "try_hosts",
    "underlying_channel",
]

T = TypeVar("T")
P = ParamSpec("P")

_CLOSE_S = 0.5  # for a farewell; a broker that is gone does not answer one


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

    def __init__(self, endpoint: Endpoint, heartbeat: int, ssl_context: SSLContext | None) -> None:
        super().__init__(
            URL(endpoint.url).update_query(heartbeat=heartbeat),
            ssl_context=ssl_context,
            client_properties={"connection_name": "lockstore"},
        )
        self.endpoint = endpoint

    def abort(self) -> None:
        """Close the socket now, whatever has not been sent. It may be closed already."""
        if self.transport is not None:
            cast("OpeningConnection", self.transport.connection).abort()

    async def connect(self, timeout: Any = None) -> None:  # noqa: ASYNC109 - aio-pika's name
        """Connect, as aio-pika's own connection does."""
        self.transport = await _Underlay.connect(
            self.url, self._on_connection_close, timeout=timeout, endpoint=self.endpoint, **self.kwargs
        )
        await self._on_connected()


def address_of(broker: BrokerSettings) -> BrokerAddress:
    """Say where `broker.url` leads, without its password."""
    return BrokerAddress.of(broker.url.get_secret_value())


def hosts_of(broker: BrokerSettings) -> BrokerHosts:
    """Give the hosts of `broker.url`, none of which has been tried yet."""
    return BrokerHosts(broker.url.get_secret_value(), broker.connect_timeout)


@asynccontextmanager
async def connect(broker: BrokerSettings, hosts: BrokerHosts | None = None) -> AsyncIterator[FilteredConnection]:
    """Connect to one of the hosts, and close at the end. `hosts`: those that were tried before, if there were any.

    Raises one of CONNECTION_ERRORS, or ConfigError for certificates that cannot be loaded.
    """
    connection = await _connect(broker, hosts or hosts_of(broker))
    try:
        yield connection
    finally:
        await _close(connection)


async def try_hosts(broker: BrokerSettings) -> dict[str, BrokerLostError | None]:
    """Connect to every address of every host, and give by place what went wrong there; None: nothing."""
    open_one = _opener(broker)

    async def attempt(endpoint: Endpoint) -> None:
        await _close(await open_one(endpoint))

    return await hosts_of(broker).try_each(attempt)


async def _connect(broker: BrokerSettings, hosts: BrokerHosts) -> FilteredConnection:
    return await hosts.connect(_opener(broker))


def _opener(broker: BrokerSettings) -> Callable[[Endpoint], Awaitable[FilteredConnection]]:
    context = tls_context(broker, "broker") if broker.speaks_tls else None

    async def open_one(endpoint: Endpoint) -> FilteredConnection:
        connection = FilteredConnection(endpoint, broker.heartbeat, context)
        await connection.connect()
        return connection

    return open_one


async def _close(connection: AbstractConnection) -> None:
    request = CancelRequest()
    try:
        await try_within(_CLOSE_S, connection.close())
    except (*CONNECTION_ERRORS, asyncio.CancelledError):
        pass  # it was gone already; and aiormq passes on the cancellation of its own reader
    finally:
        if isinstance(connection, FilteredConnection):
            connection.abort()
    request.check()


async def or_lost(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await what works on a connection. That this is broken off by the connection's end, and not by us, is a BrokerLostError."""
    return await keep_cancellation(_lost, work, *args, **kwargs)


def _lost() -> BrokerLostError:
    return BrokerLostError("the connection was closed")


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


async def raise_when_closed(connection: FilteredConnection) -> None:
    """Wait for the connection's end, which aio-pika's own `closed()` tells only when we close it ourselves."""
    transport = connection.transport
    assert transport is not None  # noqa: S101 - it is connected
    below = transport.connection
    await asyncio.wait([below.closing])
    with broker_errors(connection.endpoint.address, below):
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


def on_delivery_failure(channel: Channel, callback: Callable[[Exception], None]) -> None:
    """Call back when aiormq cannot read a delivery: it ends the channel then, and tells only after seconds."""
    deliver = channel._on_deliver_frame  # noqa: SLF001 - of this channel alone; there is no other place

    async def deliver_noticing(frame: Basic.Deliver) -> None:
        try:
            await deliver(frame)
        except Exception as error:
            callback(error)
            raise

    channel._on_deliver_frame = deliver_noticing  # type: ignore[method-assign]  # noqa: SLF001 - likewise


def frames_of(channel: Channel) -> FrameFilter:
    """Give what stands before the reader of a channel's connection."""
    connection = channel.connection
    assert isinstance(connection, OpeningConnection)  # noqa: S101 - `connect` makes no other kind
    assert connection.frames is not None  # noqa: S101 - it is connected
    return connection.frames


def reader_failure(end: AbstractBase) -> BaseException | None:
    """Give what a connection's or channel's own reader raised over a frame, if that ended it; None: it did not."""
    closing = end.closing  # type: ignore[attr-defined]  # aiormq has no other kind than those that have it
    if not closing.done() or closing.cancelled():
        return None
    error: BaseException | None = closing.exception()
    if isinstance(error, (InvalidFrameError, *FRAME_ERRORS)):
        return error
    is_end = isinstance(error, (*CONNECTION_ERRORS, LockstoreError, asyncio.CancelledError, StopAsyncIteration))
    return None if error is None or is_end or type(error) is Exception else error


def is_end(error: BaseException, cause: BaseException) -> bool:
    """Tell whether an error, or all of a group, is a connection's end with this cause, and not a fault of its own beside it."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_end(member, cause) for member in error.exceptions)
    is_told = isinstance(error, RuntimeError) and str(error).endswith(" closed")  # aio-pika's and aiormq's way
    return error is cause or is_told or isinstance(error, CONNECTION_ERRORS) or type(error) is Exception


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
