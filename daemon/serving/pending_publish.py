"""A batch of events being published: confirms, returned messages, and how long to wait for them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiormq.exceptions import PublishError

from daemon.serving.dispatcher import Dispatcher
from daemon.serving.recipient import LATE_S, Copy
from lockstore.amqp.publisher import Sent
from lockstore.core.commands import Withdraw
from lockstore.core.events import Event
from lockstore.errors import BrokerLostError
from lockstore.stores.results import Entry

__all__ = ["Announcement", "PendingPublish", "PublishResult", "UnroutableGrant"]


@dataclass(frozen=True, slots=True)
class UnroutableGrant:
    """An undeliverable grant: its ticket must be withdrawn before its event is finished."""

    withdraw: Withdraw
    stored: Callable[[], None]  # to be called when the withdrawal is stored


@dataclass(slots=True)
class PublishResult:
    """The result of publishing a batch, so far."""

    entries: list[Entry] = field(default_factory=list)  # finished events
    unreachable: list[UnroutableGrant] = field(default_factory=list)
    refused: int = 0
    unconfirmed: int = 0  # messages not confirmed yet
    unanswered: list["Announcement"] = field(default_factory=list)  # the events among them that no outbox keeps


class PendingPublish:
    """Events that are being published."""

    def __init__(self, dispatcher: Dispatcher, on_unroutable: Callable[[Sequence[UnroutableGrant]], None]) -> None:
        self.result = PublishResult()
        self.dispatcher = dispatcher
        self.on_unroutable = on_unroutable
        self._sent: list[Sent] = []
        self.sent_at = time.monotonic()
        self.is_over = False
        self._waited = 0  # messages whose confirms are awaited
        self._announcements: list[Announcement] = []
        self._progress = asyncio.Event()

    def add(self, announcement: "Announcement") -> None:
        """Add an event."""
        self._announcements.append(announcement)

    def expect(self) -> None:
        """Expect the confirm of one more message."""
        self._waited += 1

    def answered(self) -> None:
        """Record that an expected confirm has arrived."""
        self._waited -= 1
        if not self._waited:
            self._progress.set()

    async def wait(self) -> PublishResult:
        """Wait for RabbitMQ's confirms until they are late, and return the finished events. Raises BrokerLostError."""
        if self._waited:
            await self._wait_until(self.sent_at + LATE_S)
        if any(sent.is_lost for sent in self._sent):
            raise BrokerLostError("the channel was closed")
        self.is_over = True
        self.result.unconfirmed = self._waited
        for announcement in self._announcements:
            if not announcement.open:
                continue
            if announcement.entry is None:
                self.result.unanswered.append(announcement)
            else:
                self.dispatcher.late[announcement.entry] = announcement
        return self.result

    async def _wait_until(self, moment: float) -> None:
        try:
            async with asyncio.timeout(None) as limit:
                limit.reschedule(asyncio.get_running_loop().time() + moment - time.monotonic())
                while self._waited and not any(sent.is_lost for sent in self._sent):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return

    def follow(self, sent: Sent) -> None:
        """Watch messages that were sent."""
        self._sent.append(sent)
        sent.ended.add_done_callback(self._lost)

    def _lost(self, _: object) -> None:
        """Record that a channel may have closed."""
        self._progress.set()


@dataclass(slots=True, eq=False)
class Announcement:
    """An event, and what must happen before it is removed from the outbox, or its delivery is acknowledged."""

    event: Event
    entry: Entry | None
    place: int  # among the events of its batch
    pending: PendingPublish
    open: int = 0
    waited: int = 0
    reply: Copy | None = None
    on_done: Callable[[], None] | None = None  # for an event that no outbox keeps

    def finished(self, copy: Copy, error: Exception | None) -> None:
        """Record the answer to one of its messages."""
        pending, number = self.pending, self.event.number
        if isinstance(error, PublishError) and number is not None:
            self.open += 1  # until the withdrawal is stored: before that the event would have to be published again
            gone = UnroutableGrant(Withdraw(self.event.conversation_id, number, copy.name), self.done)
            if pending.is_over:
                pending.on_unroutable([gone])
            else:
                pending.result.unreachable.append(gone)
        elif error is not None:
            pending.result.refused += 1
        self._stop_waiting(copy)
        self.done()

    def refused(self, copy: Copy) -> None:
        """Record that RabbitMQ has rejected one of its messages, which is retried."""
        self.pending.result.refused += 1
        self._stop_waiting(copy)

    def done(self) -> None:
        """Finish one part of it."""
        self.open -= 1
        if self.open:
            return
        if self.entry is None:
            if self.on_done is not None:
                self.on_done()
        elif self.pending.is_over:
            self.pending.dispatcher.settle(self.entry)
        else:
            self.pending.result.entries.append(self.entry)

    def _stop_waiting(self, copy: Copy) -> None:
        mark = 1 if copy.lane == "reply" else 2
        if self.waited & mark:
            self.waited &= ~mark
            self.pending.answered()
