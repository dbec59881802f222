"""One connection to RabbitMQ, from its first breath to its end: a channel with confirms, and a reply queue of its own.

Here, and only here, what aiormq raises becomes ours: `BrokerLostError`, `NotTakenError` or `NoQueueError`.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import cast

from aiormq.abc import AbstractBase, AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity, PublishError
from pamqp.commands import Basic

from lockstore.amqp.compat import on_consumer_cancel
from lockstore.amqp.errors import BROKER, BrokerAddress, broker_errors
from lockstore.amqp.opening import OpeningConnection
from lockstore.amqp.publisher import Outgoing, Publisher
from lockstore.client.cleanup import run_to_end
from lockstore.client.outbound import OutboundMessage, Routes
from lockstore.errors import BrokerLostError, LockstoreError
from lockstore.protocol.codec import BODY_MAX_BYTES
from lockstore.protocol.naming import Names

__all__ = ["Connection", "NoQueueError", "NotTakenError", "OnReply", "open_connection", "translate_error"]

OnReply = Callable[[DeliveredMessage], None]

CLOSE_LIMIT_S = 3.0
_PERSISTENT = 2  # AMQP's delivery_mode


class NotTakenError(LockstoreError):
    """The broker is there but did not take the message on: a queue refuses, or is just moving. Try again later."""


class NoQueueError(NotTakenError):
    """The broker has no queue for the message: no daemon has declared it. Nobody will ever see the message."""


def translate_error(*ends: AbstractBase) -> AbstractContextManager[None]:
    """Turn whatever the connection's end raises in here into BrokerLostError. `ends`: the channel that is worked on."""
    return broker_errors(BROKER, *ends)


class Connection:
    """A live connection. Get it from `open_connection`; it is over when `over` says so, and never comes back."""

    def __init__(self, number: int, connection: AbstractConnection, channel: Channel, names: Names) -> None:
        self.number = number
        self.reply_to = f"{names.namespace}.replies.{uuid.uuid4().hex}"
        self.names = names
        self._connection = connection
        self._channel = channel
        self._publisher = Publisher(channel)
        self._condemned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_exchange = False
        self.ended = asyncio.Event()  # set by the link, when this is no longer the current one

    async def begin(self, on_reply: OnReply) -> None:
        """Consume the reply queue, so that it is ready before anything is asked."""

        async def receive(message: DeliveredMessage) -> None:
            on_reply(message)

        # The broker cancels the consumer when the queue goes, as with a node of its cluster.
        on_consumer_cancel(self._channel, self.mark_failed)
        await self._channel.queue_declare(self.reply_to, exclusive=True, auto_delete=True)
        await self._channel.basic_consume(self.reply_to, receive, no_ack=True)
        await self._look_for_exchange()

    async def publish(self, letter: OutboundMessage, routes: Routes, limit_s: float | None = None) -> None:
        """Send a letter and wait until the broker has it.

        Raises BrokerLostError, NotTakenError, NoQueueError, or TimeoutError after `limit_s` seconds: then, as after a
        BrokerLostError, it may have arrived or not.
        """
        partition = routes.of(letter.conversation_id) if letter.partition is None else letter.partition
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=_PERSISTENT,
            correlation_id=letter.name,
            message_id=letter.name,
            reply_to=self.reply_to,
        )
        async with asyncio.timeout(limit_s):
            with translate_error(self._channel):
                if not self._has_exchange and not await self._look_for_exchange():
                    raise NoQueueError(f"the broker has no exchange {self.names.requests}")
            message = Outgoing(letter.body, properties, str(partition), self.names.requests, mandatory=True)
            [fault] = await self._publisher.publish([message])
        if isinstance(fault, PublishError):
            raise NoQueueError(f"no queue takes requests for partition {partition}")
        if fault is not None:
            raise NotTakenError("the broker refused it")

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Open another channel on this connection, whose end harms nothing else."""
        with translate_error(self._connection):
            channel = await self._open_channel()
        try:
            yield channel
        finally:
            await run_to_end(_close_channel(channel))

    def mark_failed(self) -> None:
        """Call it over: it has failed somebody."""
        if not self._condemned.done():
            self._condemned.set_result(None)

    async def over(self) -> None:
        """Wait for its end."""
        ends = {self._condemned, self._channel.closing, self._connection.closing}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    async def _open_channel(self) -> AbstractChannel:
        """Open a channel. A cancellation waits until it can be closed again: aiormq 6 would leave its reader behind."""
        opening = asyncio.ensure_future(self._connection.channel(publisher_confirms=False))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await run_to_end(_close_opening(opening))
            raise

    async def _look_for_exchange(self) -> bool:
        """Ask whether a daemon has ever declared the exchange: publishing to one that is not there ends the channel."""
        probe = await self._open_channel()
        try:
            await probe.exchange_declare(self.names.requests, passive=True)
        except ChannelNotFoundEntity:
            return False
        await probe.close(BrokerLostError("the channel was closed"))
        self._has_exchange = True
        return True


@asynccontextmanager
async def open_connection(
    number: int, url: str, names: Names, on_reply: OnReply, limit_s: float
) -> AsyncIterator[Connection]:
    """Connect, and close at the end. Raises BrokerLostError if it takes more than `limit_s` seconds or cannot be."""
    connection: AbstractConnection | None = None
    try:
        with broker_errors(BrokerAddress.of(url)):
            async with asyncio.timeout(limit_s):
                # Made before it connects: whatever ends the connecting, there is something to close.
                connection = OpeningConnection(url, body_limit=BODY_MAX_BYTES)
                await connection.connect({"connection_name": f"{names.namespace} client"})
                channel = cast("Channel", await connection.channel())
                epoch = Connection(number, connection, channel, names)
                await epoch.begin(on_reply)
        yield epoch
    finally:
        if connection is not None:
            await run_to_end(_close(connection))


async def _close_opening(opening: asyncio.Future[AbstractChannel]) -> None:
    with suppress(BrokerLostError, TimeoutError):
        async with asyncio.timeout(CLOSE_LIMIT_S):
            with translate_error():
                channel = await opening
        await _close_channel(channel)


async def _close_channel(channel: AbstractChannel) -> None:
    with suppress(BrokerLostError, TimeoutError):
        async with asyncio.timeout(CLOSE_LIMIT_S):
            with translate_error(channel):
                await channel.close(BrokerLostError("the channel was closed"))


async def _close(connection: AbstractConnection) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await connection.close(BrokerLostError("the connection was closed"))
