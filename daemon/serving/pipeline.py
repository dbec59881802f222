"""The pipeline: decode a batch of messages, process it (store, publish, confirm), and acknowledge it.

A message is acknowledged when all its events are confirmed by the broker, or are in the store's outbox until they are. If
the daemon is killed before that, the message is redelivered, and the store answers it as it did the first time. (If no
outbox keeps an answer and its queue is slow, its message is held, see `daemon/serving/held_deliveries.py`.) The store step
of a batch runs while confirms of earlier batches are outstanding; batches are published and acknowledged in order. Confirms
that do not arrive in time are not waited for.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import structlog
from aiormq.abc import DeliveredMessage

from daemon.broker.connection import or_lost
from daemon.monitoring.batch_report import BatchReport
from daemon.monitoring.stalls import ProgressCounter
from daemon.serving.announcer import Announcer
from daemon.serving.batch_processor import BatchProcessor
from daemon.serving.consumer import QueueConsumer
from daemon.serving.deadlines import Withdrawals
from daemon.serving.decoder import DecodedDelivery, Decoder
from daemon.serving.held_deliveries import HeldDeliveries
from daemon.serving.pending_publish import PendingPublish, PublishResult
from daemon.serving.runtime import Runtime
from lockstore.core.commands import Request
from lockstore.core.events import Rejected
from lockstore.errors import ConversationError
from lockstore.protocol.codec import type_of
from lockstore.stores.results import Notice, Outcome
from lockstore.util.task_group import TaskGroup

__all__ = ["Pipeline"]

_NOT_UNDERSTOOD = frozenset({"invalid", "too_large"})  # parked even if there is a reply queue

_UNFINISHED_MOST = 4  # batches awaiting confirms while the next ones are in the store
_ROOM_S = 0.02  # beyond that, the age of the first one at which the next proceeds anyway; the prefetch bounds them

_log = structlog.get_logger()


@dataclass(slots=True)
class _Batch:
    """The events of one batch of messages."""

    letters: list[DecodedDelivery]
    taken_ns: int
    taken_at: float
    decoded_at: float
    stored_at: float
    notices: list[Notice] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)  # the delivery tag of each event
    rejections: list[str] = field(default_factory=list)
    parked: list[tuple[DecodedDelivery, Rejected]] = field(default_factory=list)

    def add(self, letter: DecodedDelivery, notice: Notice) -> None:
        self.notices.append(notice)
        self.sources.append(letter.tag)

    def park(self, letter: DecodedDelivery, rejected: Rejected) -> None:
        if not self.parked or self.parked[-1][0] is not letter:
            self.parked.append((letter, rejected))

    def served(self, partition: int, announced: PublishResult, announced_at: float) -> BatchReport:
        """Report the finished batch."""
        return BatchReport(
            partition=partition,
            messages=len(self.letters),
            requests=sum(type(letter.command) is Request for letter in self.letters),
            notices=self.notices,
            store_ms=(self.stored_at - self.decoded_at) * 1000,
            took_ms=(announced_at - self.taken_at) * 1000,
            taken_ns=self.taken_ns,
            unreachable=len(announced.unreachable),
            refused=announced.refused,
            decode_ms=(self.decoded_at - self.taken_at) * 1000,
            acknowledge_ms=(time.perf_counter() - announced_at) * 1000,
            redelivered=sum(letter.delivery.redelivered is True for letter in self.letters),
            rejections=self.rejections,
            dead_letters=[rejected.reason for _, rejected in self.parked],
        )


class Pipeline:
    """Serves one partition. `progress` counts its steps, once per batch rather than per message."""

    def __init__(
        self,
        runtime: Runtime,
        partition: QueueConsumer,
        reader: Decoder,
        announcer: Announcer,
        withdrawals: Withdrawals,
        progress: ProgressCounter,
    ) -> None:
        self._partition = partition
        self._reader = reader
        self._announcer = announcer
        self._processor = BatchProcessor(runtime, announcer, withdrawals, progress)
        self._progress = progress
        self._checkpoint = runtime.failpoint
        self._confirm_timeout_s = runtime.settings.broker.confirm_timeout
        self._runtime = runtime

    async def run(self, batch_most: int) -> None:
        """Serve batches until the partition is stopped, then finish accepted work. Raises BrokerLostError."""
        async with TaskGroup() as tasks:
            unfinished: deque[tuple[asyncio.Task[None], float]] = deque()
            self._held = HeldDeliveries(self._runtime, self._partition, self._announcer, tasks)
            while deliveries := await self._partition.take(batch_most):
                batch = await self._store(deliveries)
                await _make_room(unfinished)
                before = unfinished[-1][0] if unfinished else None
                # Sent here rather than in a task, which would delay grants by a turn of the event loop.
                pending = await self._processor.publish(batch.notices)
                finishing = tasks.create_task(or_lost(self._finish, batch, pending, before))
                unfinished.append((finishing, pending.sent_at))
            await asyncio.gather(*(task for task, _ in unfinished))
            await self._held.close()

    async def _store(self, deliveries: list[DeliveredMessage]) -> _Batch:
        """Decode a batch and apply it to the store."""
        taken_at, taken_ns = time.perf_counter(), time.time_ns()
        now_ms = taken_ns // 1_000_000
        letters = [self._reader.read(delivery, now_ms) for delivery in deliveries]
        commands = [letter.command for letter in letters if letter.command is not None]
        decoded_at = time.perf_counter()
        outcomes = iter(await self._processor.store(commands, self._partition.check))
        batch = _Batch(letters, taken_ns, taken_at, decoded_at, time.perf_counter())
        for letter in letters:
            if letter.rejected is not None:
                self._reject(batch, letter, letter.rejected)
                if letter.rejected.reason in _NOT_UNDERSTOOD:
                    batch.park(letter, letter.rejected)
            else:
                self._note(batch, letter, next(outcomes), now_ms)
        self._checkpoint("stored")
        return batch

    def _note(self, batch: _Batch, letter: DecodedDelivery, outcome: Outcome, now_ms: int) -> None:
        if isinstance(outcome, ConversationError):
            rejected = _unserved(letter, outcome, now_ms)
            _log.error("conversation.damaged", conversation=rejected.conversation_id, error=str(outcome))
            self._reject(batch, letter, rejected)
            batch.park(letter, rejected)
            return
        for notice in outcome:
            if isinstance(notice.event, Rejected):
                self._reject(batch, letter, notice.event)
            else:
                batch.add(letter, notice)
            _log.debug(
                "request.served",
                partition=self._partition.number,
                type=type_of(notice.event),
                conversation=notice.event.conversation_id,
                ticket=notice.event.number,
                request=notice.event.request_id,
            )

    def _reject(self, batch: _Batch, letter: DecodedDelivery, rejected: Rejected) -> None:
        """Reject a message; park it if it has no reply queue."""
        batch.rejections.append(rejected.reason)
        if rejected.to.reply_to:
            batch.add(letter, Notice(rejected, None))
        else:
            batch.park(letter, rejected)

    async def _finish(self, batch: _Batch, pending: PendingPublish, before: asyncio.Task[None] | None) -> None:
        """Acknowledge a batch when its events are safe, and the previous batch is acknowledged."""
        announced = await self._processor.confirmed(pending)
        announced_at = time.perf_counter()
        self._held.hold(announced.unanswered, batch.sources)
        for letter, rejected in batch.parked:
            await self._park(letter, rejected)
        self._checkpoint("announced")
        if before is not None:
            await before
        await self._processor.settle(announced)
        await self._partition.acknowledge([letter.tag for letter in batch.letters])
        self._progress.step()
        self._checkpoint("acknowledged")
        served = batch.served(self._partition.number, announced, announced_at)
        self._processor.report(served)
        self._say(batch, served)

    async def _park(self, letter: DecodedDelivery, rejected: Rejected) -> None:
        """Publish a dead letter; a queue that does not confirm it must not block the other messages."""
        try:
            async with asyncio.timeout(self._confirm_timeout_s):
                await self._announcer.park(letter.as_dead_letter(rejected))
        except TimeoutError:
            _log.warning("dead_letter.unconfirmed", reason=rejected.reason, detail=rejected.detail)

    def _say(self, batch: _Batch, served: BatchReport) -> None:
        # A busy daemon serves hundreds of batches per second: at level info, log only what an operator may have to look
        # into.
        unusual = bool(served.dead_letters or served.unreachable or served.refused)
        if not (unusual or _log.is_enabled_for(logging.DEBUG)):
            return
        _log.log(
            logging.INFO if unusual else logging.DEBUG,
            "batch.served",
            partition=served.partition,
            messages=served.messages,
            store_ms=round(served.store_ms, 1),
            announce_ms=round(served.announce_ms, 1),
            parked=len(served.dead_letters),
            unreachable=served.unreachable,
            refused=served.refused,
            **Counter(type_of(notice.event) for notice in batch.notices),
        )


async def _make_room(unfinished: deque[tuple[asyncio.Task[None], float]]) -> None:
    """Wait for the first of many unfinished batches, but not for one that does not finish."""
    if len(unfinished) >= _UNFINISHED_MOST and not unfinished[0][0].done():
        first, sent_at = unfinished[0]
        patience_s = sent_at + _ROOM_S - time.monotonic()
        if patience_s > 0:
            await asyncio.wait([first], timeout=patience_s)
    while unfinished and unfinished[0][0].done():
        unfinished.popleft()


def _unserved(letter: DecodedDelivery, error: ConversationError, now_ms: int) -> Rejected:
    command = letter.command
    assert command is not None  # noqa: S101 - only decoded messages reach the store
    return Rejected(
        conversation_id=command.conversation_id,
        number=None,
        request_id=command.request_id,
        holder=None,
        at_ms=now_ms,
        to=command.sender,
        reason="invalid",
        detail=f"conversation_id: the lock store cannot process this conversation: {error}"[:500],
    )
