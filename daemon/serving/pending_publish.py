"""A batch of events on its way to RabbitMQ: what is confirmed, what came back, and how long that is waited for."""

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
    """A grant that nobody took: its ticket is to be withdrawn, and only then its event is done with."""

    withdraw: Withdraw
    stored: Callable[[], None]  # to be called when the withdrawal is in the store


@dataclass(slots=True)
class PublishResult:
    """What came of announcing a batch, up to now."""

    entries: list[Entry] = field(default_factory=list)  # events that are done with
    unreachable: list[UnroutableGrant] = field(default_factory=list)
    refused: int = 0
    unconfirmed: int = 0  # messages whose confirms are not there yet
    unanswered: list["Announcement"] = field(default_factory=list)  # of these, the events that no outbox keeps


class PendingPublish:
    """Events on their way to RabbitMQ."""

    def __init__(self, dispatcher: Dispatcher, on_unroutable: Callable[[Sequence[UnroutableGrant]], None]) -> None:
        self.result = PublishResult()
        self.dispatcher = dispatcher
        self.on_unroutable = on_unroutable
        self._sent: list[Sent] = []
        self.sent_at = time.monotonic()
        self.is_over = False
        self._waited = 0  # messages whose answers are worth waiting for
        self._announcements: list[Announcement] = []
        self._progress = asyncio.Event()

    def add(self, announcement: "Announcement") -> None:
        """Take in an event."""
        self._announcements.append(announcement)

    def expect(self) -> None:
        """Wait for the answer to one more message."""
        self._waited += 1

    def answered(self) -> None:
        """Take note that one that is waited for is answered."""
        self._waited -= 1
        if not self._waited:
            self._progress.set()

    async def wait(self) -> PublishResult:
        """Wait for RabbitMQ's answers until they are late, and tell which events are done with. Raises BrokerLostError."""
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
        """Take note of messages that were sent."""
        self._sent.append(sent)
        sent.ended.add_done_callback(self._lost)

    def _lost(self, _: object) -> None:
        """Take note that a channel may have closed."""
        self._progress.set()


@dataclass(slots=True, eq=False)
class Announcement:
    """An event with all that is to happen before the outbox lets go of it, or its delivery is acknowledged."""

    event: Event
    entry: Entry | None
    place: int  # among the events of its batch
    pending: PendingPublish
    open: int = 0
    waited: int = 0
    reply: Copy | None = None
    on_done: Callable[[], None] | None = None  # for an event that no outbox keeps

    def finished(self, copy: Copy, error: Exception | None) -> None:
        """Take the answer to one of its messages."""
        pending, number = self.pending, self.event.number
        if isinstance(error, PublishError) and number is not None:
            self.open += 1  # until the withdrawal is stored: before that it would have to be announced again
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
        """Take note that RabbitMQ has refused one of its messages, which is tried again."""
        self.pending.result.refused += 1
        self._stop_waiting(copy)

    def done(self) -> None:
        """Be done with one part of it."""
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
