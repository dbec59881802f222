"""Publishing messages with one write and gathering their confirms, on a channel of aiormq's: for the daemon and the client.

aiormq's own `basic_publish` does the same for one message, with a task, a lock and a future for each. Here a batch shares
them: what aiormq keeps for each message (the delivery tag, whom to tell of the broker's answer) is noted as it notes it
itself, so that its reader finds them. The frames are written by `publish_frames`.
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

from lockstore.amqp.publish_frames import body_frames, header_frame, publish_frame
from lockstore.errors import BrokerLostError

__all__ = ["Encoded", "OnAnswer", "Outgoing", "Publisher", "Sent", "Unpublished"]

Unpublished = PublishError | DeliveryError
"""Why a message was not taken: it came back, because no queue takes it; or the broker refused it."""

OnAnswer = Callable[[int, Unpublished | None], None]
"""Called with the place of a message and what is wrong with it; None: the broker has taken it."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be published; with `mandatory` the broker gives it back if it reaches no queue."""

    body: bytes
    properties: Basic.Properties
    routing_key: str
    exchange: str = ""
    mandatory: bool = False


class _Confirmation:
    """Stands where aiormq keeps a future for each message, and is told the broker's answer in the same way."""

    __slots__ = ("_open", "key", "place", "sent")

    def __init__(self, sent: "Sent", place: int, key: "_Key | None") -> None:
        self.sent = sent
        self.place = place
        self.key = key  # of a mandatory message: what identifies it when it is returned
        self._open = True

    @property
    def tag(self) -> int:
        """The delivery tag."""
        return self.sent.first_tag + self.place

    def done(self) -> bool:
        """Tell whether the answer is there."""
        return not self._open

    def cancelled(self) -> bool:
        """Tell aiormq that an answer is still wanted."""
        return False

    def set_result(self, _: Any) -> None:
        """Take the broker's yes."""
        self.finish(None)

    def set_exception(self, error: Unpublished) -> None:
        """Take the broker's no; a returned message goes to the confirmation of the very message that came back."""
        if isinstance(error, PublishError) and self.key is not None:
            self.sent.returns.returned_one(self, self.key[0], error).finish(error)
        else:
            self.finish(error)

    def finish(self, error: Unpublished | None) -> None:
        """Take the answer: it was to this message."""
        if self._open:
            self._open = False
            if self.key is not None:
                self.sent.returns.forget(self, self.key[0])
            self.sent.answered(self.place, error)


_Key = tuple[str, str, str]  # message id, exchange, routing key


class _Returns:
    """Finds the message that the broker returned.

    aiormq looks for it by message id alone, and two messages may share one: the same grant for two reply queues. RabbitMQ
    returns the messages of a channel in the order in which they were published, each before its confirm, so of those
    with the same id, exchange and routing key it is the oldest that has no answer.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._open: dict[str, deque[_Confirmation]] = {}  # by message id, the oldest first

    def expect(self, confirmation: _Confirmation, message_id: str) -> None:
        """Note a mandatory message, and have aiormq find one of those with its id."""
        self._open.setdefault(message_id, deque()).append(confirmation)
        self._channel.message_id_delivery_tag[message_id] = confirmation.tag

    def forget(self, confirmation: _Confirmation, message_id: str) -> None:
        """Let go of a message that is answered, or was never sent."""
        waiting = self._open[message_id]
        waiting.remove(confirmation)
        if waiting:
            self._channel.message_id_delivery_tag[message_id] = waiting[-1].tag
        else:
            del self._open[message_id]
            self._channel.message_id_delivery_tag.pop(message_id, None)

    def returned_one(self, found: _Confirmation, message_id: str, error: PublishError) -> _Confirmation:
        """Give the confirmation of the message that came back, where aiormq has taken it for `found`."""
        delivery = error.message.delivery if error.message else None
        if not isinstance(delivery, Basic.Return):
            return found
        key = (message_id, delivery.exchange or "", delivery.routing_key or "")
        right = next((waiting for waiting in self._open[message_id] if waiting.key == key), found)
        if right is not found:
            # aiormq has noted that `found` came back, and passes over its confirm: that is the other's to be passed over.
            confirmations: dict[int, Any] = self._channel.confirmations
            confirmations[found.tag], confirmations[right.tag] = found, confirmations[found.tag]
        return right


class Sent:
    """Messages that were sent together, and what the broker says of them."""

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
        """Wait for the broker's answer to each, and give what is wrong with it; None: it has been taken.

        Raises BrokerLostError when the channel closes first.
        """
        task = asyncio.current_task()
        cancelling = task.cancelling() if task else 0
        try:
            await self.ended
        except asyncio.CancelledError:
            # Cancelled itself: this task was, perhaps before it came here. aiormq fails it with the error instead.
            if self.ended.cancelled() or task is None or task.cancelling() > cancelling:
                raise
            raise BrokerLostError("the channel was closed") from None  # so aiormq says it, at times
        except Exception as error:
            raise BrokerLostError(f"{type(error).__name__}: {error}") from error
        return self.results

    def answered(self, place: int, error: Unpublished | None) -> None:
        """Take one answer."""
        self.results[place] = error
        self.waiting -= 1
        if self._on_answer is not None:
            self._on_answer(place, error)
        if not self.waiting and not self.ended.done():
            self.ended.set_result(None)

    def note(self, keys: Sequence[_Key | None]) -> None:
        """Have aiormq's reader find whom to tell."""
        confirmations: dict[int, Any] = self._channel.confirmations
        for place, key in enumerate(keys):
            confirmation = _Confirmation(self, place, key)
            confirmations[self.first_tag + place] = confirmation
            if key is not None:
                self.returns.expect(confirmation, key[0])
        self._channel.delivery_tag += self.number

    def take_back(self) -> None:
        """Undo `note`: the broker sees none of them, and will not count them."""
        self._channel.delivery_tag -= self.number
        confirmations: dict[int, Any] = self._channel.confirmations
        for place in range(self.number):
            taken_back: _Confirmation = confirmations.pop(self.first_tag + place)
            if taken_back.key is not None:
                self.returns.forget(taken_back, taken_back.key[0])
        self.ended.cancel()


def _retrieve(ended: asyncio.Future[None]) -> None:
    """Take the error of a channel that closed, of which whoever sends next is told."""
    if not ended.cancelled():
        ended.exception()


class Publisher:
    """Publishes on one channel with confirms, in the order of the calls. Nobody else may publish on it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = asyncio.Lock()  # tags are counted in the order of sending
        self._returns = _Returns(channel)

    @property
    def header_max(self) -> int:
        """The most bytes that a content header may have: it must fit one frame."""
        return self._channel.max_content_size

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be published, and nothing more is answered."""
        return self._channel.is_closed

    async def publish(self, messages: Sequence[Outgoing]) -> list[Unpublished | None]:
        """Send, and wait for the answers. Raises BrokerLostError."""
        return await (await self.send(messages)).answers() if messages else []

    async def send(self, messages: Sequence[Outgoing]) -> Sent:
        """Send at least one message. It waits for its turn only, and not for the broker. Raises BrokerLostError."""
        return await self.send_encoded(list(map(self.encode, messages)))

    async def send_encoded(self, messages: Sequence["Encoded"], on_answer: OnAnswer | None = None) -> Sent:
        """Send at least one message that this publisher encoded; `on_answer` is called with the place of each that is answered.

        Raises BrokerLostError.
        """
        payload = b"".join([message.frames for message in messages])
        async with self._lock:
            if self._channel.is_closed:
                raise BrokerLostError("the channel is closed")
            sent = Sent(self._channel, self._returns, len(messages), on_answer)
            sent.note([message.key for message in messages])
            await self._write(ChannelFrame(payload=payload, should_close=False), sent)
        return sent

    async def _write(self, payload: ChannelFrame, sent: Sent) -> None:
        """Give it to the connection's writer; where that has much to do, wait for room, until the connection is lost."""
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
        """Write a message's frames. Raises whatever pamqp raises where AMQP cannot carry it."""
        number, body, mandatory = self._channel.number, message.body, message.mandatory
        frames = (
            publish_frame(message.exchange, message.routing_key, int(mandatory), number)
            + header_frame(message.properties, len(body), number)
            + body_frames(body, self._channel.max_content_size, number)
        )
        key = (message.properties.message_id or "", message.exchange, message.routing_key) if mandatory else None
        return Encoded(frames, key)


class Encoded(NamedTuple):
    """A message as it goes over the wire, on the channel of the publisher that encoded it."""

    frames: bytes
    key: "_Key | None"
