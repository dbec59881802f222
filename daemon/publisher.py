"""Publishing many messages with one write, and gathering their confirms, on a channel of aiormq's.

aiormq's own `basic_publish` does the same for one message, with a task, a lock and a future for each. Here a batch shares
them: what aiormq keeps for each message (the delivery tag, whom to tell of the broker's answer) is noted as it notes it
itself, so that its reader finds them. Encoding stays pamqp's.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError, DeliveryError, PublishError
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from lockstore.errors import BrokerLostError

__all__ = ["Outgoing", "Publisher", "Unpublished"]

Unpublished = PublishError | DeliveryError
"""Why a message was not taken: it came back, because no queue takes it; or the broker refused it."""

_ROUTES_KEPT = 4096  # encoded routes of one channel; few reply queues get many messages


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be published; with `mandatory` the broker gives it back if it reaches no queue."""

    body: bytes
    properties: Basic.Properties
    routing_key: str
    exchange: str = ""
    mandatory: bool = False


class _Batch:
    """What the broker says of messages that were sent together."""

    __slots__ = ("done", "first_tag", "results", "waiting")

    def __init__(self, size: int, first_tag: int, done: "asyncio.Future[Any]") -> None:
        self.results: list[Unpublished | None] = [None] * size
        self.waiting = size
        self.first_tag = first_tag
        self.done = done  # aiormq fails it when the channel closes


class _Confirmation:
    """Stands where aiormq keeps a future for each message, and is told the broker's answer in the same way."""

    __slots__ = ("_batch", "_open", "_place")

    def __init__(self, batch: _Batch, place: int) -> None:
        self._batch = batch
        self._place = place
        self._open = True

    def done(self) -> bool:
        """Tell whether the answer is there."""
        return not self._open

    def cancelled(self) -> bool:
        """Tell aiormq that an answer is still wanted."""
        return False

    def set_result(self, _: Any) -> None:
        """Take the broker's yes."""
        self._open = False
        batch = self._batch
        batch.waiting -= 1
        if not batch.waiting and not batch.done.done():
            batch.done.set_result(None)

    def set_exception(self, error: Unpublished) -> None:
        """Take the broker's no."""
        self._batch.results[self._place] = error
        self.set_result(None)


class Publisher:
    """Publishes on one channel with confirms, in the order of the calls. Nobody else may publish on it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = asyncio.Lock()  # tags are counted in the order of sending
        self._route = lru_cache(maxsize=_ROUTES_KEPT)(self._encode_route)

    async def publish(self, messages: Sequence[Outgoing]) -> list[Unpublished | None]:
        """Publish, wait for the broker's answer to each, and give what is wrong with it; None: it has been taken.

        Raises BrokerLostError when the channel closes first.
        """
        if not messages:
            return []
        try:
            payload = b"".join(map(self._encode, messages))
            async with self._lock:
                batch = await self._send(messages, payload)
            try:
                await batch.done
            finally:
                self._forget(batch, messages)
        except Exception as error:
            raise BrokerLostError(f"{type(error).__name__}: {error}") from error
        return batch.results

    async def _send(self, messages: Sequence[Outgoing], payload: bytes) -> _Batch:
        channel = self._channel
        if channel.is_closed:
            raise ChannelInvalidStateError("the channel is closed")
        batch = _Batch(len(messages), channel.delivery_tag + 1, channel.create_future())
        confirmations: dict[int, Any] = channel.confirmations
        for place, message in enumerate(messages):
            tag = batch.first_tag + place
            confirmations[tag] = _Confirmation(batch, place)
            if message.mandatory:
                channel.message_id_delivery_tag[message.properties.message_id or ""] = tag
        channel.delivery_tag += len(messages)
        try:
            await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        except BaseException:  # the broker sees none of them, and will not count them
            channel.delivery_tag -= len(messages)
            for place in range(len(messages)):
                del confirmations[batch.first_tag + place]
            self._forget(batch, messages)
            raise
        return batch

    def _forget(self, batch: _Batch, messages: Sequence[Outgoing]) -> None:
        tags = self._channel.message_id_delivery_tag
        for place, message in enumerate(messages):
            if message.mandatory and tags.get(message.properties.message_id or "") == batch.first_tag + place:
                del tags[message.properties.message_id or ""]

    def _encode(self, message: Outgoing) -> bytes:
        number, body = self._channel.number, message.body
        header = frame.marshal(ContentHeader(properties=message.properties, body_size=len(body)), number)
        most = self._channel.max_content_size
        parts = [body] if len(body) <= most else [body[start : start + most] for start in range(0, len(body), most)]
        frames = [frame.marshal(ContentBody(part), number) for part in parts if part]
        return b"".join([self._route(message.exchange, message.routing_key, message.mandatory), header, *frames])

    def _encode_route(self, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - by position, for the cache
        publish = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
        return frame.marshal(publish, self._channel.number)
