"""The public events, as an endless stream that survives reconnects."""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiormq.abc import AbstractChannel, DeliveredMessage

from lockstore.client.connection import Connection, translate_error
from lockstore.client.log_limit import RateLimitedLog
from lockstore.client.reconnect import Reconnector
from lockstore.client.replies import InvalidReplyError, read_message
from lockstore.errors import BrokerLostError, LockError
from lockstore.protocol.messages import Outbound
from lockstore.protocol.naming import Names
from lockstore.util.backoff import Backoff

__all__ = ["PUBLIC_TYPES", "EventStream"]

logger = logging.getLogger(__name__)

PUBLIC_TYPES = ("queued", "granted", "released", "expired", "cancelled")

PREFETCH = 200  # events that the reader has not processed
QUEUE_MOST = 100_000  # events on the broker; a reader that falls further behind loses the oldest
REMEMBERED_IDS = 1024  # for events published twice: the second copy follows within seconds


class EventStream:
    """Events of some types (default: all), of one conversation or of all."""

    def __init__(self, reconnector: Reconnector, types: tuple[str, ...], conversation: str | None) -> None:
        unknown = set(types) - set(PUBLIC_TYPES)
        if unknown:
            raise ValueError(
                f"unknown event types: {', '.join(sorted(unknown))}; known types: {', '.join(PUBLIC_TYPES)}"
            )
        self._reconnector = reconnector
        self._types = types
        self._conversation = conversation
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._log = RateLimitedLog(logger)

    async def events(self) -> AsyncGenerator[Outbound, None]:
        """Yield events from the first connection on, until the client is closed."""
        backoff = Backoff(0.05, 5.0)
        while True:
            try:
                connection = await self._reconnector.wait_connected()
            except LockError:
                return
            try:
                async with aclosing(self._on(connection)) as messages:
                    async for message in messages:
                        backoff.reset()
                        if (event := self._read(message)) is not None:
                            yield event
            except BrokerLostError:
                # Also raised if no daemon has declared the exchange yet.
                await asyncio.sleep(backoff.next_s())

    def _read(self, message: DeliveredMessage) -> Outbound | None:
        """Parse an event; None if it belongs to another reader, is a duplicate, or of a later protocol version."""
        message_id = message.header.properties.message_id
        if message_id is not None:
            if message_id in self._seen:
                return None
            self._seen[message_id] = None
            if len(self._seen) > REMEMBERED_IDS:
                self._seen.popitem(last=False)
        try:
            event = read_message(message)
        except InvalidReplyError as error:
            self._log.warning("lock_client.event_not_understood", "a public event was ignored", str(error))
            return None
        except Exception as error:  # noqa: BLE001 - an unexpected error must affect only its event
            fault = f"it cannot be read: {type(error).__name__}"
            self._log.warning("lock_client.event_not_understood", "a public event was ignored", fault)
            return None
        # A conversation id containing `*` or `#` also matches other conversations' events.
        return event if self._conversation in (None, event.conversation_id) else None

    async def _on(self, connection: Connection) -> AsyncGenerator[DeliveredMessage, None]:
        """Yield the messages of one connection; each is acknowledged when the next one is requested."""
        # Bounded by the prefetch. None: the channel was closed.
        arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        async with connection.channel() as channel:
            await self._subscribed(channel, connection.names, arrived)
            channel.closing.add_done_callback(lambda _: arrived.put_nowait(None))
            while (message := await arrived.get()) is not None:
                yield message
                with translate_error(channel):
                    await channel.basic_ack(message.delivery_tag or 0, wait=False)
        raise BrokerLostError("the channel of the events ended")

    async def _subscribed(
        self, channel: AbstractChannel, names: Names, arrived: asyncio.Queue[DeliveredMessage | None]
    ) -> None:
        """Subscribe, and log the result, since a subscription without events is otherwise invisible."""
        try:
            with translate_error(channel):
                await self._subscribe(channel, names, arrived)
        except BrokerLostError as error:
            extra = {"code": "lock_client.events_unheard", "reason": str(error)}
            logger.warning("cannot subscribe to events yet, retrying: %s", error, extra=extra)
            raise
        logger.info("following events", extra={"code": "lock_client.events_followed"})

    async def _subscribe(
        self, channel: AbstractChannel, names: Names, arrived: asyncio.Queue[DeliveredMessage | None]
    ) -> None:
        queue = f"{names.namespace}.feed.{uuid.uuid4().hex}"

        async def receive(message: DeliveredMessage) -> None:
            arrived.put_nowait(message)

        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments={"x-max-length": QUEUE_MOST})
        for kind in self._types or ("*",):
            await channel.queue_bind(queue, names.events, f"{kind}.{self._conversation or '#'}")
        await channel.basic_consume(queue, receive)
