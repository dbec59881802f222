"""A partition: one request queue, on a channel of its own. What has arrived is taken together, in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from aiormq.abc import AbstractChannel, DeliveredMessage

from lockstore.amqp.address import BROKER
from lockstore.amqp.errors import broker_errors, describe_error
from lockstore.errors import BrokerLostError

__all__ = ["QueueConsumer"]


def _nothing() -> None:
    """Let it pass."""


class QueueConsumer:
    """The deliveries of one queue. As long as another daemon is active on it, none arrive, and this one stands by."""

    def __init__(self, number: int, queue: str, channel: AbstractChannel, check: Callable[[], None] = _nothing) -> None:
        """Take the channel. `check` is called before messages are given out; what it raises keeps them here."""
        self.number = number
        self.delivered = 0  # messages that came so far: none, as long as this daemon stands by
        self._is_awake = check
        self._queue = queue
        self._channel = channel
        self._arrived: deque[DeliveredMessage] = deque()
        self._taken_tag = 0
        self._settled_tag = 0
        self._held: set[int] = set()
        self._settling = asyncio.Lock()
        self._stir = asyncio.Event()
        self._stopping = False
        self._closing = False
        self._lost: str | None = None
        self.failure: Exception | None = None  # what aiormq raised over a delivery

    async def open(self, prefetch: int) -> None:
        """Begin to consume."""
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._channel.closing.add_done_callback(self._on_close)
        await self._channel.basic_qos(prefetch_count=prefetch)
        await self._channel.basic_consume(self._queue, self._on_message)

    async def _on_message(self, message: DeliveredMessage) -> None:
        self.delivered += 1
        if not (
            self._stopping or self._lost
        ):  # what comes now goes back to the queue, in order, when the channel closes
            self._arrived.append(message)
            self._stir.set()

    def _on_cancel(self, _: object) -> None:
        self._lose(f"the queue {self._queue} is gone, or RabbitMQ has cancelled its consumer")

    def fail(self, error: Exception) -> None:
        """Note that aiormq could not read a delivery, which ends the channel."""
        self.failure = error
        self._lose(f"a delivery of the queue {self._queue} could not be read: {type(error).__name__}: {error}")

    def _on_close(self, closing: asyncio.Future[None]) -> None:
        error = None if closing.cancelled() else closing.exception()
        if not self._closing:
            reason = "" if error is None else f": {describe_error(error, BROKER).what}"
            self._lose(f"the channel of the queue {self._queue} was closed{reason}")

    def _lose(self, reason: str) -> None:
        """Let go of what has arrived: another daemon has it by now, or will have it."""
        self._lost = self._lost or reason
        self._arrived.clear()
        self._stir.set()

    def check(self) -> None:
        """Raise BrokerLostError if what was delivered may be another's by now."""
        if self._lost:
            raise BrokerLostError(self._lost)
        self._is_awake()

    @property
    def waiting(self) -> int:
        """How many messages are here and not done with: those that arrived, and those under way, but for those that are held."""
        return len(self._arrived) + self._taken_tag - self._settled_tag

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is taken."""
        return self._stopping

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True
        self._arrived.clear()
        self._stir.set()

    async def take(self, most: int) -> list[DeliveredMessage]:
        """Wait for messages and take all that are there, up to `most`; none at all: it is stopped.

        There is no timer: a lone message goes at once.
        """
        while not self._arrived:
            if self._stopping:
                return []
            if self._lost:
                raise BrokerLostError(self._lost)
            self._stir.clear()
            await self._stir.wait()
        self.check()
        taken = [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]
        self._taken_tag = taken[-1].delivery_tag or 0
        return taken

    def hold(self, delivery_tag: int) -> None:
        """Keep a message that is not acknowledged yet: when the others of its batch are, it is not."""
        self._held.add(delivery_tag)

    async def acknowledge(self, delivery_tags: Sequence[int]) -> None:
        """Be done with these messages, which are the next ones in order, but for those that are held."""
        async with self._settling:
            self._settled_tag = delivery_tags[-1]
            if self._held:
                for tag in delivery_tags:
                    if tag not in self._held:
                        await self._ack(tag, and_all_before=False)
            else:
                await self._ack(self._settled_tag, and_all_before=True)

    async def let_go(self, delivery_tag: int) -> None:
        """Hold a message no longer: it is acknowledged with its batch, or now where that is done with."""
        async with self._settling:
            self._held.discard(delivery_tag)
            if delivery_tag <= self._settled_tag:
                await self._ack(delivery_tag, and_all_before=False)

    async def _ack(self, delivery_tag: int, *, and_all_before: bool) -> None:
        with broker_errors(BROKER, self._channel):
            await self._channel.basic_ack(delivery_tag, multiple=and_all_before, wait=False)

    async def refuse(self, delivery_tag: int) -> None:
        """Have RabbitMQ put a message among the dead letters."""
        with broker_errors(BROKER, self._channel):
            await self._channel.basic_reject(delivery_tag, requeue=False, wait=False)

    async def close(self) -> None:
        """Step back. Closing the channel, and not cancelling the consumer, is what requeues the rest in order."""
        self.stop()
        self._closing = True
        await self._channel.close()
