"""The connection to RabbitMQ: opening it, noticing its end, describing its errors."""

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

_CLOSE_S = 0.5  # for closing; an unreachable broker does not answer


class _Underlay(UnderlayConnection):
    """aio-pika's wrapper of aiormq's connection."""

    @classmethod
    async def make_connection(cls, url: URL, timeout: Any = None, **kwargs: Any) -> AiormqConnection:  # noqa: ASYNC109 - aio-pika's name
        connection = OpeningConnection(url, body_limit=BODY_MAX_BYTES, **kwargs)
        async with asyncio.timeout(timeout):
            await connection.connect()
            await connection.ready()
        return connection


class FilteredConnection(aio_pika.Connection):
    """A connection that no malformed message can end, and that reports why it could not be opened."""

    def __init__(self, endpoint: Endpoint, heartbeat: int, ssl_context: SSLContext | None) -> None:
        super().__init__(
            URL(endpoint.url).update_query(heartbeat=heartbeat),
            ssl_context=ssl_context,
            client_properties={"connection_name": "lockstore"},
        )
        self.endpoint = endpoint

    def abort(self) -> None:
        """Close the socket immediately, even if something has not been sent. It may be closed already."""
        if self.transport is not None:
            cast("OpeningConnection", self.transport.connection).abort()

    async def connect(self, timeout: Any = None) -> None:  # noqa: ASYNC109 - aio-pika's name
        """Connect, as aio-pika's own connection does."""
        self.transport = await _Underlay.connect(
            self.url, self._on_connection_close, timeout=timeout, endpoint=self.endpoint, **self.kwargs
        )
        await self._on_connected()


def address_of(broker: BrokerSettings) -> BrokerAddress:
    """Return the address in `broker.url`, without its password."""
    return BrokerAddress.of(broker.url.get_secret_value())


def hosts_of(broker: BrokerSettings) -> BrokerHosts:
    """Return the hosts of `broker.url`, all untried."""
    return BrokerHosts(broker.url.get_secret_value(), broker.connect_timeout)


@asynccontextmanager
async def connect(broker: BrokerSettings, hosts: BrokerHosts | None = None) -> AsyncIterator[FilteredConnection]:
    """Connect to one of the hosts, and close at the end. `hosts`: the result of earlier attempts, if any.

    Raises one of CONNECTION_ERRORS, or ConfigError for certificates that cannot be loaded.
    """
    connection = await _connect(broker, hosts or hosts_of(broker))
    try:
        yield connection
    finally:
        await _close(connection)


async def try_hosts(broker: BrokerSettings) -> dict[str, BrokerLostError | None]:
    """Connect to every address of every host, and return the fault of each, or None."""
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
        pass  # already closed; aiormq also passes on the cancellation of its own reader
    finally:
        if isinstance(connection, FilteredConnection):
            connection.abort()
    request.check()


async def or_lost(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await work on a connection. Raises BrokerLostError if the connection's end cancels it, rather than its caller."""
    return await keep_cancellation(_lost, work, *args, **kwargs)


def _lost() -> BrokerLostError:
    return BrokerLostError("the connection was closed")


async def open_channel(connection: AbstractConnection, **options: bool) -> AbstractChannel:
    """Open a channel. Raises one of CONNECTION_ERRORS; for a closed connection aiormq raises a bare RuntimeError."""
    try:
        return await connection.channel(**options)
    except RuntimeError as error:
        raise BrokerLostError(str(error)) from error


async def underlying_channel(channel: AbstractChannel) -> Channel:
    """Return aiormq's channel below aio-pika's; it publishes without waiting for the socket each time."""
    below = await channel.get_underlay_channel()
    assert isinstance(below, Channel)  # noqa: S101 - aio-pika opens no other kind
    return below


async def raise_when_closed(connection: FilteredConnection) -> None:
    """Wait for the connection's end; aio-pika's own `closed()` returns only if we close it."""
    transport = connection.transport
    assert transport is not None  # noqa: S101 - it is connected
    below = transport.connection
    await asyncio.wait([below.closing])
    with broker_errors(connection.endpoint.address, below):
        await below.closing
    raise BrokerLostError("the connection was closed")


async def raise_when_one_closes(channels: Sequence[Channel]) -> None:
    """Wait until one of these channels closes, which may leave the connection open."""
    closing = {channel.closing: channel for channel in channels}
    ended, _ = await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
    for future in ended:
        if not closing[future].connection.is_closed:
            with broker_errors(BROKER, closing[future]):
                await future
            raise BrokerLostError("the channel was closed")


def on_delivery_failure(channel: Channel, callback: Callable[[Exception], None]) -> None:
    """Call back when aiormq cannot read a delivery: it then ends the channel, but reports that only after seconds."""
    deliver = channel._on_deliver_frame  # noqa: SLF001 - of this channel alone; there is no other place

    async def deliver_noticing(frame: Basic.Deliver) -> None:
        try:
            await deliver(frame)
        except Exception as error:
            callback(error)
            raise

    channel._on_deliver_frame = deliver_noticing  # type: ignore[method-assign]  # noqa: SLF001 - likewise


def frames_of(channel: Channel) -> FrameFilter:
    """Return the frame filter of a channel's connection."""
    connection = channel.connection
    assert isinstance(connection, OpeningConnection)  # noqa: S101 - `connect` makes no other kind
    assert connection.frames is not None  # noqa: S101 - it is connected
    return connection.frames


def reader_failure(end: AbstractBase) -> BaseException | None:
    """Return the error that a connection's or channel's reader raised for a frame, if that ended it, else None."""
    closing = end.closing  # type: ignore[attr-defined]  # aiormq has no other kind than those that have it
    if not closing.done() or closing.cancelled():
        return None
    error: BaseException | None = closing.exception()
    if isinstance(error, (InvalidFrameError, *FRAME_ERRORS)):
        return error
    is_end = isinstance(error, (*CONNECTION_ERRORS, LockstoreError, asyncio.CancelledError, StopAsyncIteration))
    return None if error is None or is_end or type(error) is Exception else error


def is_end(error: BaseException, cause: BaseException) -> bool:
    """Return whether an error, or every error of a group, is the end of the connection with this cause."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_end(member, cause) for member in error.exceptions)
    is_told = isinstance(error, RuntimeError) and str(error).endswith(" closed")  # aio-pika's and aiormq's way
    return error is cause or is_told or isinstance(error, CONNECTION_ERRORS) or type(error) is Exception


async def is_blocked(connection: AbstractConnection) -> bool:
    """Return whether RabbitMQ blocks this connection, because it is short of memory or disk."""
    transport = connection.transport
    assert transport is not None  # noqa: S101 - it is connected
    try:
        async with asyncio.timeout(0):
            await transport.connection.ready()  # immediately, or when RabbitMQ accepts messages again
    except TimeoutError:
        return True
    return False


def say_what_ended(error: BaseException, address: BrokerAddress = BROKER) -> str:
    """Describe in one sentence what ended a connection."""
    return describe_error(error, address).what


def as_config_error(error: BaseException) -> ConfigError | None:
    """Return the fault of a certificate, the broker's or ours, if that was the cause: a retry would not help."""
    fault = certificate_fault(innermost(error))
    if fault is None:
        return None
    option = "url" if fault.option == "host" else fault.option
    return ConfigError(f"broker.{option}: {fault.what}; {fault.remedy}")
