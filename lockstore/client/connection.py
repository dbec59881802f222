"""One AMQP connection: a channel with publisher confirms, and a reply queue.

The only module that translates aiormq's errors, into `BrokerLostError`, `NotTakenError` or `NoQueueError`.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import cast

from aiormq.abc import AbstractBase, AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, PublishError
from pamqp.commands import Basic

from lockstore.amqp.address import BROKER
from lockstore.amqp.compat import on_consumer_cancel
from lockstore.amqp.errors import broker_errors
from lockstore.amqp.hosts import BrokerHosts, Endpoint
from lockstore.amqp.opening import OpeningConnection
from lockstore.amqp.publisher import Outgoing, Publisher
from lockstore.client.cleanup import run_to_end
from lockstore.client.outbound import OutboundMessage, Routes
from lockstore.errors import BrokerLostError, LockstoreError
from lockstore.protocol.limits import BODY_MAX_BYTES
from lockstore.protocol.naming import Names
from lockstore.util.backoff import Backoff
from lockstore.util.timeouts import timeout

__all__ = ["Connection", "NoQueueError", "NotTakenError", "OnReply", "open_connection", "translate_error"]

OnReply = Callable[[DeliveredMessage], None]

BEGIN_LIMIT_S = 15.0
CLOSE_LIMIT_S = 3.0
REJECTED_FIRST_S, REJECTED_MOST_S = 1.0, 60.0
"""After rejecting every message for this long, the publishing channel is replaced; seconds, the first time and at most.

A channel of RabbitMQ 3.10 that publishes to a quorum queue for the first time while its leader's node dies asks that node
for as long as the channel lives, and rejects everything.
"""
_PERSISTENT = 2  # AMQP's delivery_mode


class NotTakenError(LockstoreError):
    """The broker did not accept the message: a queue rejects it, or is being moved. Retry later."""


class NoQueueError(NotTakenError):
    """The broker has no queue for the message, because no daemon has declared it. The message is lost."""


def translate_error(*ends: AbstractBase) -> AbstractContextManager[None]:
    """Turn errors caused by the end of the connection into BrokerLostError. `ends`: the channel in use."""
    return broker_errors(BROKER, *ends)


class Connection:
    """A live connection, created by `open_connection`. Once `over` returns, it cannot be used again."""

    def __init__(self, number: int, connection: OpeningConnection, channel: Channel, names: Names) -> None:
        self.number = number
        self.node = connection.address.place
        self.reply_to = f"{names.namespace}.replies.{uuid.uuid4().hex}"
        self.names = names
        self._connection = connection
        self._channel = channel
        self._publisher = Publisher(channel)
        # Channels that took the place of the first one for publishing; the last is in use.
        self._publishing: list[tuple[AbstractChannel, Publisher]] = []
        self._patience = Backoff(REJECTED_FIRST_S, REJECTED_MOST_S)
        self._replace_at: float | None = None  # if everything is rejected until then
        self._condemned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_exchange = False
        self.unseen: str | None = None  # why it cannot be checked whether the exchange exists
        self.ended = asyncio.Event()  # set by the reconnector when this is no longer the current connection

    async def begin(self, on_reply: OnReply) -> None:
        """Consume the reply queue, before the first request is sent."""

        async def receive(message: DeliveredMessage) -> None:
            on_reply(message)

        # The broker cancels the consumer if the queue disappears, for example with its node.
        on_consumer_cancel(self._channel, self.mark_failed)
        await self._channel.queue_declare(self.reply_to, exclusive=True, auto_delete=True)
        await self._channel.basic_consume(self.reply_to, receive, no_ack=True)
        await self._look_for_exchange()

    async def publish(self, outbound: OutboundMessage, routes: Routes, limit_s: float | None = None) -> None:
        """Publish a message and wait for the broker's confirm.

        Raises BrokerLostError, NotTakenError, NoQueueError, or TimeoutError after `limit_s` seconds. After TimeoutError and
        BrokerLostError it is unknown whether the message arrived.
        """
        partition = routes.of(outbound.conversation_id) if outbound.partition is None else outbound.partition
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=_PERSISTENT,
            correlation_id=outbound.name,
            message_id=outbound.name,
            reply_to=self.reply_to,
        )
        async with timeout(limit_s):
            with translate_error(self._channel):
                if not self._has_exchange and not await self._look_for_exchange():
                    raise NoQueueError(f"the broker has no exchange {self.names.requests}")
            message = Outgoing(outbound.body, properties, str(partition), self.names.requests, mandatory=True)
            publisher = self._publisher
            [fault] = await publisher.publish([message])
        if isinstance(fault, PublishError):
            raise NoQueueError(f"there is no request queue for partition {partition}")
        if fault is not None:
            await self._note_rejection(publisher)
            raise NotTakenError("the broker rejected the message")
        self._replace_at = None

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Open another channel on this connection, whose errors affect nothing else."""
        with translate_error(self._connection):
            channel = await self._open_channel()
        try:
            yield channel
        finally:
            await run_to_end(_close_channel(channel))

    def mark_failed(self) -> None:
        """Mark the connection as failed, so that it is replaced."""
        if not self._condemned.done():
            self._condemned.set_result(None)

    async def over(self) -> None:
        """Wait until the connection has ended."""
        ends = {self._condemned, self._channel.closing, self._connection.closing}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    async def _note_rejection(self, publisher: Publisher) -> None:
        """Replace the publishing channel if it has rejected everything for a while. Replies keep their channel."""
        now = asyncio.get_running_loop().time()
        if publisher is not self._publisher:
            return
        if self._replace_at is None:
            self._replace_at = now + self._patience.next_s()
        if now < self._replace_at:
            return
        self._replace_at = None
        with suppress(TimeoutError):
            async with timeout(CLOSE_LIMIT_S):
                with translate_error(self._connection):
                    channel = await self._open_channel(has_confirms=True)
                await self._publish_on(cast("Channel", channel))

    async def _publish_on(self, channel: Channel) -> None:
        """Publish on this channel from now on, and close earlier ones on which nothing is outstanding."""
        channel.closing.add_done_callback(lambda _: self._end_with(channel))
        self._publisher = Publisher(channel)
        earlier, self._publishing = self._publishing, [(channel, self._publisher)]
        for replaced, publisher in earlier:
            if publisher.is_idle:
                await _close_channel(replaced)
            else:
                self._publishing.insert(0, (replaced, publisher))

    def _end_with(self, channel: AbstractChannel) -> None:
        """Fail with a publishing channel that ends by itself."""
        if any(channel is other for other, _ in self._publishing):
            self.mark_failed()

    async def _open_channel(self, *, has_confirms: bool = False) -> AbstractChannel:
        """Open a channel. A cancellation waits until it can be closed again: aiormq 6 would leave its reader task running."""
        opening = asyncio.ensure_future(self._connection.channel(publisher_confirms=has_confirms))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await run_to_end(_close_opening(opening))
            raise

    async def _look_for_exchange(self) -> bool:
        """Check whether the exchange exists: publishing to a missing one closes the channel."""
        async with self.channel() as probe:
            try:
                await probe.exchange_declare(self.names.requests, passive=True)
            except ChannelNotFoundEntity:
                return False
            except ChannelAccessRefused as error:
                # RabbitMQ 4.3 asks for a right that a user who only follows events does not need. Whoever publishes finds
                # out then.
                self.unseen = str(error)
        self._has_exchange = True
        return True


@asynccontextmanager
async def open_connection(
    number: int, hosts: BrokerHosts, names: Names, on_reply: OnReply, begin_limit_s: float = BEGIN_LIMIT_S
) -> AsyncIterator[Connection]:
    """Connect to one of the hosts, and close at the end. Raises BrokerLostError if none can be connected to.

    `begin_limit_s`: seconds to declare the reply queue once the connection is open.
    """
    endpoint, opened = await hosts.connect(lambda endpoint: _open(endpoint, names))
    try:
        try:
            with broker_errors(opened.address):
                async with timeout(begin_limit_s):
                    channel = cast("Channel", await opened.channel())
                    connection = Connection(number, opened, channel, names)
                    await connection.begin(on_reply)
            yield connection
        finally:
            hosts.mark_failed(endpoint)  # however it ended, try another host first next time
    finally:
        await run_to_end(_close(opened))


async def _open(endpoint: Endpoint, names: Names) -> tuple[Endpoint, OpeningConnection]:
    # Created before it connects, so that it can be closed however connecting ends.
    connection = OpeningConnection(endpoint.url, body_limit=BODY_MAX_BYTES, endpoint=endpoint)
    try:
        await connection.connect({"connection_name": f"{names.namespace} client"})
    except BaseException:
        await run_to_end(_close(connection))
        raise
    return endpoint, connection


async def _close_opening(opening: asyncio.Future[AbstractChannel]) -> None:
    with suppress(BrokerLostError, TimeoutError):
        async with timeout(CLOSE_LIMIT_S):
            with translate_error():
                channel = await opening
        await _close_channel(channel)


async def _close_channel(channel: AbstractChannel) -> None:
    with suppress(BrokerLostError, TimeoutError):
        async with timeout(CLOSE_LIMIT_S):
            with translate_error(channel):
                await channel.close(BrokerLostError("the channel was closed"))


async def _close(connection: AbstractConnection) -> None:
    with suppress(TimeoutError):
        async with timeout(CLOSE_LIMIT_S):
            await connection.close(BrokerLostError("the connection was closed"))
