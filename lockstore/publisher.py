"""Publishing messages with one write and gathering their confirms, on a channel of aiormq's: for the daemon and the client.

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
from aiormq.exceptions import DeliveryError, PublishError
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from lockstore.errors import BrokerLostError

__all__ = ["Outgoing", "Publisher", "Sent", "Unpublished"]

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


class _Confirmation:
    """Stands where aiormq keeps a future for each message, and is told the broker's answer in the same way."""

    __slots__ = ("_open", "_place", "_sent")

    def __init__(self, sent: "Sent", place: int) -> None:
        self._sent = sent
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
        self._sent.answered()

    def set_exception(self, error: Unpublished) -> None:
        """Take the broker's no."""
        self._sent.results[self._place] = error
        self.set_result(None)


class Sent:
    """Messages that were sent together, and what the broker says of them."""

    __slots__ = ("_channel", "_messages", "ended", "first_tag", "results", "waiting")

    def __init__(self, channel: Channel, messages: Sequence[Outgoing]) -> None:
        self.results: list[Unpublished | None] = [None] * len(messages)
        self.waiting = len(messages)
        self.first_tag = channel.delivery_tag + 1
        self._channel = channel
        self._messages = messages
        self.ended: asyncio.Future[None] = channel.create_future()  # aiormq fails it when the channel closes

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
        finally:
            self.forget()
        return self.results

    def answered(self) -> None:
        """Count one answer."""
        self.waiting -= 1
        if not self.waiting and not self.ended.done():
            self.ended.set_result(None)

    def note(self) -> None:
        """Have aiormq's reader find whom to tell."""
        confirmations: dict[int, Any] = self._channel.confirmations
        for place, message in enumerate(self._messages):
            tag = self.first_tag + place
            confirmations[tag] = _Confirmation(self, place)
            if message.mandatory:
                self._channel.message_id_delivery_tag[message.properties.message_id or ""] = tag
        self._channel.delivery_tag += len(self._messages)

    def take_back(self) -> None:
        """Undo `note`: the broker sees none of them, and will not count them."""
        self._channel.delivery_tag -= len(self._messages)
        for place in range(len(self._messages)):
            del self._channel.confirmations[self.first_tag + place]
        self.forget()
        self.ended.cancel()

    def forget(self) -> None:
        """Let go of the names by which what comes back is found."""
        tags = self._channel.message_id_delivery_tag
        for place, message in enumerate(self._messages):
            name = message.properties.message_id or ""
            if message.mandatory and tags.get(name) == self.first_tag + place:
                del tags[name]


class Publisher:
    """Publishes on one channel with confirms, in the order of the calls. Nobody else may publish on it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = asyncio.Lock()  # tags are counted in the order of sending
        self._route = lru_cache(maxsize=_ROUTES_KEPT)(self._encode_route)

    @property
    def header_max(self) -> int:
        """The most bytes that a content header may have: it must fit one frame."""
        return self._channel.max_content_size

    async def publish(self, messages: Sequence[Outgoing]) -> list[Unpublished | None]:
        """Send, and wait for the answers. Raises BrokerLostError."""
        return await (await self.send(messages)).answers() if messages else []

    async def send(self, messages: Sequence[Outgoing]) -> Sent:
        """Send at least one message. It waits for its turn only, and not for the broker. Raises BrokerLostError."""
        payload = b"".join(map(self._encode, messages))
        async with self._lock:
            if self._channel.is_closed:
                raise BrokerLostError("the channel is closed")
            sent = Sent(self._channel, messages)
            sent.note()
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
