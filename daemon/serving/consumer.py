"""Consumes one request queue on its own channel. Messages that have arrived are taken together, in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from aiormq.abc import AbstractChannel, DeliveredMessage

from lockstore.amqp.address import BROKER
from lockstore.amqp.errors import broker_errors, describe_error
from lockstore.errors import BrokerLostError
from lockstore.util.callbacks import do_nothing

__all__ = ["QueueConsumer"]


class QueueConsumer:
    """The deliveries of one queue. While another daemon is active on it, none arrive, and this one is on standby."""

    def __init__(
        self, number: int, queue: str, channel: AbstractChannel, check: Callable[[], None] = do_nothing
    ) -> None:
        """`check` is called before messages are returned; if it raises, they stay here."""
        self.number = number
        self.delivered = 0  # messages that have arrived so far: none while this daemon is on standby
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
        self.failure: Exception | None = None  # what aiormq raised for a delivery

    async def open(self, prefetch: int) -> None:
        """Start consuming."""
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._channel.closing.add_done_callback(self._on_close)
        await self._channel.basic_qos(prefetch_count=prefetch)
        await self._channel.basic_consume(self._queue, self._on_message)

    async def _on_message(self, message: DeliveredMessage) -> None:
        self.delivered += 1
        if not (
            self._stopping or self._lost
        ):  # what arrives now returns to the queue, in order, when the channel closes
            self._arrived.append(message)
            self._stir.set()

    def _on_cancel(self, _: object) -> None:
        self._lose(f"the queue {self._queue} is gone, or RabbitMQ has cancelled its consumer")

    def fail(self, error: Exception) -> None:
        """Record that aiormq could not read a delivery, which ends the channel."""
        self.failure = error
        self._lose(f"a delivery of the queue {self._queue} could not be read: {type(error).__name__}: {error}")

    def _on_close(self, closing: asyncio.Future[None]) -> None:
        error = None if closing.cancelled() else closing.exception()
        if not self._closing:
            reason = "" if error is None else f": {describe_error(error, BROKER).what}"
            self._lose(f"the channel of the queue {self._queue} was closed{reason}")

    def _lose(self, reason: str) -> None:
        """Drop what has arrived: another daemon has received it, or will receive it."""
        self._lost = self._lost or reason
        self._arrived.clear()
        self._stir.set()

    def check(self) -> None:
        """Raise BrokerLostError if the deliveries may have been redelivered to another daemon, for a freeze in the first place."""
        self._is_awake()
        if self._lost:
            raise BrokerLostError(self._lost)

    @property
    def waiting(self) -> int:
        """The number of unfinished messages: those that have arrived, and those being processed, except held ones."""
        return len(self._arrived) + self._taken_tag - self._settled_tag

    @property
    def is_stopping(self) -> bool:
        """Whether no more messages are taken."""
        return self._stopping

    def stop(self) -> None:
        """Take no more messages."""
        self._stopping = True
        self._arrived.clear()
        self._stir.set()

    async def take(self, most: int) -> list[DeliveredMessage]:
        """Wait for messages and take all that have arrived, up to `most`; an empty list: it was stopped.

        There is no timer: a lone message goes at once.
        """
        while not self._arrived:
            if self._stopping:
                return []
            if self._lost:
                self.check()
            self._stir.clear()
            await self._stir.wait()
        self.check()
        taken = [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]
        self._taken_tag = taken[-1].delivery_tag or 0
        return taken

    def hold(self, delivery_tag: int) -> None:
        """Exclude a message from the acknowledgement of its batch."""
        self._held.add(delivery_tag)

    async def acknowledge(self, delivery_tags: Sequence[int]) -> None:
        """Acknowledge these messages, which are the next ones in order, except held ones."""
        async with self._settling:
            self._settled_tag = delivery_tags[-1]
            if self._held:
                for tag in delivery_tags:
                    if tag not in self._held:
                        await self._ack(tag, and_all_before=False)
            else:
                await self._ack(self._settled_tag, and_all_before=True)

    async def let_go(self, delivery_tag: int) -> None:
        """Stop holding a message: it is acknowledged with its batch, or now if the batch was already acknowledged."""
        async with self._settling:
            self._held.discard(delivery_tag)
            if delivery_tag <= self._settled_tag:
                await self._ack(delivery_tag, and_all_before=False)

    async def _ack(self, delivery_tag: int, *, and_all_before: bool) -> None:
        with broker_errors(BROKER, self._channel):
            await self._channel.basic_ack(delivery_tag, multiple=and_all_before, wait=False)

    async def refuse(self, delivery_tag: int) -> None:
        """Have RabbitMQ dead-letter a message."""
        with broker_errors(BROKER, self._channel):
            await self._channel.basic_reject(delivery_tag, requeue=False, wait=False)

    async def close(self) -> None:
        """Yield the partition. Closing the channel, rather than cancelling the consumer, requeues the rest in order."""
        self.stop()
        self._closing = True
        await self._channel.close()
