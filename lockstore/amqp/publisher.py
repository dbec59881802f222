"""Publishes batches of messages with one write and collects their confirms, on a channel of aiormq.

aiormq's `basic_publish` uses a task, a lock and a future per message. Here a batch shares them: aiormq's own bookkeeping
per message (delivery tag, receiver of the confirm) is filled in directly, so that its reader finds it. `publish_frames`
encodes the frames.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from lockstore.amqp.compat import to_write
from lockstore.amqp.publish_frames import body_frames, header_frame, publish_frame, renumbered
from lockstore.errors import BrokerLostError
from lockstore.util.cancellation import CancelRequest

__all__ = ["Encoded", "OnAnswer", "Outgoing", "Publisher", "Sent", "Unpublished"]

Unpublished = PublishError | DeliveryError
"""Why a message was not accepted: it was returned because no queue matched, or the broker rejected it."""

OnAnswer = Callable[[int, Unpublished | None], None]
"""Called with the index of a message and its error; None: confirmed."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; with `mandatory` the broker returns it if it reaches no queue."""

    body: bytes
    properties: Basic.Properties
    routing_key: str
    exchange: str = ""
    mandatory: bool = False


class _Confirmation:
    """Replaces the future that aiormq keeps per message, and receives the broker's answer in the same way."""

    __slots__ = ("_open", "key", "place", "sent")

    def __init__(self, sent: "Sent", place: int, key: "_Key | None") -> None:
        self.sent = sent
        self.place = place
        self.key = key  # of a mandatory message: identifies it if it is returned
        self._open = True

    @property
    def tag(self) -> int:
        """The delivery tag."""
        return self.sent.first_tag + self.place

    def done(self) -> bool:
        """Return whether the answer has arrived."""
        return not self._open

    def cancelled(self) -> bool:
        """Return False: aiormq must still deliver the answer."""
        return False

    def set_result(self, _: Any) -> None:
        """Record a confirm."""
        self.finish(None)

    def set_exception(self, error: Unpublished) -> None:
        """Record a rejection; a returned message is assigned to its own confirmation."""
        if isinstance(error, PublishError) and self.key is not None:
            self.sent.returns.returned_one(self, self.key[0], error).finish(error)
        else:
            self.finish(error)

    def finish(self, error: Unpublished | None) -> None:
        """Record the answer to this message."""
        if self._open:
            self._open = False
            if self.key is not None:
                self.sent.returns.forget(self, self.key[0])
            self.sent.answered(self.place, error)


_Key = tuple[str, str, str]  # message id, exchange, routing key


class _Returns:
    """Finds the message that the broker returned.

    aiormq looks it up by message id alone, which two messages may share: the same grant for two reply queues. RabbitMQ
    returns the messages of a channel in the order of publishing, each before its confirm, so it is the oldest unanswered
    one with the same id, exchange and routing key.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._open: dict[str, deque[_Confirmation]] = {}  # by message id, oldest first

    def expect(self, confirmation: _Confirmation, message_id: str) -> None:
        """Register a mandatory message, so that aiormq finds one with its id."""
        self._open.setdefault(message_id, deque()).append(confirmation)
        self._channel.message_id_delivery_tag[message_id] = confirmation.tag

    def forget(self, confirmation: _Confirmation, message_id: str) -> None:
        """Remove a message that was answered or never sent."""
        waiting = self._open[message_id]
        waiting.remove(confirmation)
        if waiting:
            self._channel.message_id_delivery_tag[message_id] = waiting[-1].tag
        else:
            del self._open[message_id]
            self._channel.message_id_delivery_tag.pop(message_id, None)

    def returned_one(self, found: _Confirmation, message_id: str, error: PublishError) -> _Confirmation:
        """Return the confirmation of the returned message, for which aiormq has chosen `found`."""
        delivery = error.message.delivery if error.message else None
        if not isinstance(delivery, Basic.Return):
            return found
        key = (message_id, delivery.exchange or "", delivery.routing_key or "")
        right = next((waiting for waiting in self._open[message_id] if waiting.key == key), found)
        if right is not found:
            # aiormq has marked `found` as returned and ignores its confirm; instead, the other message's confirm must be
            # ignored.
            confirmations: dict[int, Any] = self._channel.confirmations
            confirmations[found.tag], confirmations[right.tag] = found, confirmations[found.tag]
        return right


class Sent:
    """Messages that were sent together, and the broker's answers."""

    __slots__ = ("_channel", "_on_answer", "ended", "first_tag", "number", "results", "returns", "waiting")

    def __init__(self, channel: Channel, returns: _Returns, number: int, on_answer: OnAnswer | None) -> None:
        self.results: list[Unpublished | None] = [None] * number
        self.waiting = self.number = number
        self.first_tag = channel.delivery_tag + 1
        self.returns = returns
        self._channel = channel
        self._on_answer = on_answer
        self.ended: asyncio.Future[None] = channel.create_future()  # aiormq fails it when the channel closes
        if on_answer is not None:
            self.ended.add_done_callback(_retrieve)

    @property
    def is_lost(self) -> bool:
        """Whether the channel closed before all were answered."""
        return self.ended.done() and (self.ended.cancelled() or self.ended.exception() is not None)

    async def answers(self) -> list[Unpublished | None]:
        """Wait for all answers, and return each message's error; None: confirmed.

        Raises BrokerLostError if the channel closes first.
        """
        request = CancelRequest()
        try:
            await self.ended
        except asyncio.CancelledError:
            # The future was cancelled through its waiting task. aiormq would fail it with an error instead.
            if self.ended.cancelled() or request.is_made:
                raise
            # aiormq sometimes cancels the future when the channel closes.
            raise BrokerLostError("the channel was closed") from None
        except Exception as error:
            request.check(error)
            raise BrokerLostError(f"{type(error).__name__}: {error}") from error
        return self.results

    def answered(self, place: int, error: Unpublished | None) -> None:
        """Record one answer."""
        self.results[place] = error
        self.waiting -= 1
        if self._on_answer is not None:
            self._on_answer(place, error)
        if not self.waiting and not self.ended.done():
            self.ended.set_result(None)

    def note(self, keys: Sequence[_Key | None]) -> None:
        """Register the messages with aiormq's reader."""
        confirmations: dict[int, Any] = self._channel.confirmations
        for place, key in enumerate(keys):
            confirmation = _Confirmation(self, place, key)
            confirmations[self.first_tag + place] = confirmation
            if key is not None:
                self.returns.expect(confirmation, key[0])
        self._channel.delivery_tag += self.number

    def take_back(self) -> None:
        """Undo `note`: the broker will not see or count these messages."""
        self._channel.delivery_tag -= self.number
        confirmations: dict[int, Any] = self._channel.confirmations
        for place in range(self.number):
            taken_back: _Confirmation = confirmations.pop(self.first_tag + place)
            if taken_back.key is not None:
                self.returns.forget(taken_back, taken_back.key[0])
        self.ended.cancel()


def _retrieve(ended: asyncio.Future[None]) -> None:
    """Retrieve the error of a closed channel, which the next send reports."""
    if not ended.cancelled():
        ended.exception()


class Publisher:
    """Publishes on one channel with confirms, in the order of the calls. The channel must not be shared."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = asyncio.Lock()  # delivery tags are assigned in the order of sending
        self._returns = _Returns(channel)

    @property
    def header_max(self) -> int:
        """The maximum size of a content header, which must fit into one frame."""
        return self._channel.max_content_size

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be published or confirmed any more."""
        return self._channel.is_closed

    @property
    def is_idle(self) -> bool:
        """Whether the broker has answered everything."""
        return not self._channel.confirmations

    async def publish(self, messages: Sequence[Outgoing]) -> list[Unpublished | None]:
        """Publish messages and wait for the answers. Raises BrokerLostError."""
        return await (await self.send(messages)).answers() if messages else []

    async def send(self, messages: Sequence[Outgoing]) -> Sent:
        """Publish at least one message without waiting for the broker. Raises BrokerLostError."""
        return await self.send_encoded(list(map(self.encode, messages)))

    async def send_encoded(self, messages: Sequence["Encoded"], on_answer: OnAnswer | None = None) -> Sent:
        """Publish at least one encoded message; `on_answer` is called with the index of each answered message.

        Raises BrokerLostError.
        """
        payload = b"".join([message.frames for message in messages])
        async with self._lock:
            if self._channel.is_closed:
                raise BrokerLostError("the channel is closed")
            sent = Sent(self._channel, self._returns, len(messages), on_answer)
            sent.note([message.key for message in messages])
            await self._write(to_write(self._channel.number, payload), sent)
        return sent

    async def _write(self, payload: ChannelFrame, sent: Sent) -> None:
        """Pass data to the connection's writer; if its buffer is full, wait until it drains or the connection is lost."""
        queue = self._channel.write_queue
        if not queue.full():
            queue.put_nowait(payload)
            return
        putting = asyncio.create_task(queue.put(payload))
        try:
            await asyncio.wait({putting, sent.ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)
            if putting.cancelled():
                sent.take_back()
        if putting.cancelled():
            raise BrokerLostError("the connection was lost")

    def encode(self, message: Outgoing) -> "Encoded":
        """Encode a message's frames. Raises whatever pamqp raises if AMQP cannot represent it."""
        number, body, mandatory = self._channel.number, message.body, message.mandatory
        frames = (
            publish_frame(message.exchange, message.routing_key, int(mandatory), number)
            + header_frame(message.properties, len(body), number)
            + body_frames(body, self._channel.max_content_size, number)
        )
        key = (message.properties.message_id or "", message.exchange, message.routing_key) if mandatory else None
        return Encoded(frames, key, number)

    def adopt(self, message: "Encoded") -> "Encoded":
        """Return a message that another publisher of this connection encoded, rewritten for this one's channel."""
        number = self._channel.number
        if message.channel == number:
            return message
        return Encoded(renumbered(message.frames, number), message.key, number)


class Encoded(NamedTuple):
    """A message encoded for the wire, for the channel of the publisher that encoded it."""

    frames: bytes
    key: "_Key | None"
    channel: int
