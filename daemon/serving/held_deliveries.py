"""Deliveries that remain unacknowledged because RabbitMQ has not confirmed an answer that no outbox keeps.

A rejection, a renewal and a repeated answer exist only in this process. While their queue is slow or refuses them, the
messages that caused them are held: if this daemon dies, RabbitMQ redelivers them. This is bounded in time, since the store
retains finished requests only for so long, and in number, since held deliveries count toward the prefetch.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from daemon.serving.announcer import Announcer
from daemon.serving.consumer import QueueConsumer
from daemon.serving.pending_publish import Announcement
from daemon.serving.runtime import Runtime
from lockstore.errors import BrokerLostError
from lockstore.util.task_group import TaskGroup

__all__ = ["HELD_MOST_S", "HELD_SHARE", "HeldDeliveries"]

HELD_MOST_S = 10.0
"""How long a delivery is held at most, in seconds; if `daemon.dedup_window` is short, half of that."""

HELD_SHARE = 4
"""At most one in so many deliveries of the prefetch is held."""

_LOG_EVERY_S = 10.0

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Held:
    tag: int
    answers: set[Announcement] = field(default_factory=set)  # those not confirmed
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, answer: Announcement) -> None:
        def answered() -> None:
            self.answers.discard(answer)
            if not self.answers:
                self.over.set()

        self.answers.add(answer)
        answer.on_done = answered


class HeldDeliveries:
    """The held deliveries of one pipeline."""

    def __init__(self, runtime: Runtime, partition: QueueConsumer, announcer: Announcer, tasks: TaskGroup) -> None:
        """`tasks` is the group that awaits their ends."""
        settings = runtime.settings
        self._partition = partition
        self._announcer = announcer
        self._tasks = tasks
        self._outstanding = runtime.outstanding
        self._most = settings.broker.prefetch // HELD_SHARE
        self._held_most_s = min(HELD_MOST_S, settings.daemon.dedup_window / 2)
        self._closing_s = settings.broker.confirm_timeout
        self._held: dict[_Held, asyncio.Task[None]] = {}  # oldest first
        self._unsaid = 0
        self._said_at = -_LOG_EVERY_S

    def hold(self, unanswered: Sequence[Announcement], sources: Sequence[int]) -> None:
        """Hold the deliveries of these answers; `sources` has the delivery tag of each event of their batch."""
        by_tag: dict[int, _Held] = {}
        for answer in unanswered:
            tag = sources[answer.place]
            if tag not in by_tag:
                by_tag[tag] = _Held(tag)
                self._partition.hold(tag)
            by_tag[tag].add(answer)
        for held in by_tag.values():
            self._held[held] = self._tasks.create_task(self._wait(held))
        open_ones = [held for held in self._held if not held.over.is_set()]
        for held in open_ones[: max(0, len(open_ones) - self._most)]:
            self._give_up(held)

    async def close(self) -> None:
        """Wait briefly for their answers. Unanswered deliveries return to the queue, and to the next daemon."""
        if not self._held:
            return
        _, left = await asyncio.wait(self._held.values(), timeout=self._closing_s)
        for task in left:
            task.cancel()
        for held in self._held:
            for answer in held.answers:
                self._announcer.drop(answer)

    async def _wait(self, held: _Held) -> None:
        """Acknowledge a delivery when its answers are confirmed or given up. Raises BrokerLostError."""
        try:
            async with asyncio.timeout(self._held_most_s):
                await held.over.wait()
        except TimeoutError:
            self._give_up(held)
        del self._held[held]
        await self._partition.let_go(held.tag)

    def _give_up(self, held: _Held) -> None:
        """Stop holding it although RabbitMQ has not confirmed the answer, which this daemon still retries."""
        if self._announcer.is_closed:
            raise BrokerLostError("the channel is closed")
        for answer in held.answers:
            self._announcer.give_up(answer)
        held.over.set()
        self._outstanding.answers_given_up += 1
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said_at >= _LOG_EVERY_S:
            queues = sorted({answer.event.to.reply_to or "" for answer in held.answers})
            _log.warning("answers.given_up", partition=self._partition.number, answers=self._unsaid, reply_to=queues)
            self._unsaid, self._said_at = 0, now
