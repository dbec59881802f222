"""The pipeline, the one place with the one order: decode, store, announce, acknowledge.

Stored before announced, announced before acknowledged. A message is acknowledged when everything that came of it is
confirmed by the broker; killed anywhere before, it is delivered again, and the store answers it as it did the first time.
The store step of one batch runs while the confirms of those before it are outstanding; they are sent, and acknowledged,
in order.
"""

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import structlog
from aiormq.abc import DeliveredMessage

from daemon.announcer import Announcer, Announcing
from daemon.letters import Letter, Reader
from daemon.observing import Served
from daemon.partition import Partition
from daemon.parts import Parts
from daemon.pulse import Beat
from daemon.sweeper import Sweeper
from lockstore.commands import Request
from lockstore.errors import ConversationError
from lockstore.events import Rejected
from lockstore.outcomes import Notice, Outcome
from lockstore.wire import type_of

__all__ = ["Pipeline"]

_NOT_UNDERSTOOD = frozenset({"invalid", "too_large"})  # parked even when there is someone to tell

_UNFINISHED_MOST = 4  # batches whose confirms are outstanding while the next ones are in the store

_log = structlog.get_logger()


@dataclass(slots=True)
class _Batch:
    """What is to be said of the messages of one batch."""

    letters: list[Letter]
    requests: int = 0
    taken_at: float = 0.0
    taken_ns: int = 0
    notices: list[Notice] = field(default_factory=list)
    parked: list[tuple[Letter, Rejected]] = field(default_factory=list)
    store_ms: float = 0.0

    @property
    def last_tag(self) -> int:
        return self.letters[-1].tag

    def park(self, letter: Letter, rejected: Rejected) -> None:
        if not self.parked or self.parked[-1][0] is not letter:
            self.parked.append((letter, rejected))


class Pipeline:
    """Serves one partition. Its steps are counted in `beat`: one write for each, not for each message."""

    def __init__(
        self, parts: Parts, partition: Partition, reader: Reader, announcer: Announcer, sweeper: Sweeper, beat: Beat
    ) -> None:
        self._partition = partition
        self._reader = reader
        self._announcer = announcer
        self._sweeper = sweeper
        self._beat = beat
        self._keeper = parts.keeper
        self._observers = parts.observers
        self._checkpoint = parts.checkpoint

    async def run(self, batch_most: int) -> None:
        """Serve batches until the partition is stopped, and finish what is under way. Raises BrokerLostError."""
        async with asyncio.TaskGroup() as tasks:
            unfinished: deque[asyncio.Task[None]] = deque()
            while deliveries := await self._partition.take(batch_most):
                batch = await self._store(deliveries)
                if len(unfinished) == _UNFINISHED_MOST:
                    await unfinished.popleft()
                before = unfinished[-1] if unfinished else None
                # Sent here and now, not in a task: whoever waits for a grant waits for every turn of the event loop.
                announcing = await self._announcer.send(batch.notices)
                self._beat.step()
                unfinished.append(tasks.create_task(self._finish(batch, announcing, before)))

    async def _store(self, deliveries: list[DeliveredMessage]) -> _Batch:
        """Decode a batch and have the store apply it."""
        taken_at = time.perf_counter()
        taken_ns = time.time_ns()
        now_ms = taken_ns // 1_000_000
        letters = [self._reader.read(delivery, now_ms) for delivery in deliveries]
        commands = [letter.command for letter in letters if letter.command is not None]
        started = time.perf_counter()
        outcomes = iter(await self._keeper.apply(commands, self._beat.step) if commands else [])
        requests = sum(isinstance(command, Request) for command in commands)
        batch = _Batch(letters, requests, taken_at, taken_ns, store_ms=(time.perf_counter() - started) * 1000)
        for letter in letters:
            if letter.rejected is not None:
                self._reject(batch, letter, letter.rejected)
                if letter.rejected.reason in _NOT_UNDERSTOOD:
                    batch.park(letter, letter.rejected)
            else:
                self._note(batch, letter, next(outcomes), now_ms)
        self._beat.step()
        self._checkpoint("stored")
        self._sweeper.watch(batch.notices)
        return batch

    def _note(self, batch: _Batch, letter: Letter, outcome: Outcome, now_ms: int) -> None:
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
                batch.notices.append(notice)
            _log.debug(
                "request.served",
                partition=self._partition.number,
                type=type_of(notice.event),
                conversation=notice.event.conversation_id,
                ticket=notice.event.number,
                request=notice.event.request_id,
            )

    def _reject(self, batch: _Batch, letter: Letter, rejected: Rejected) -> None:
        """Answer a refused message; park it when there is nobody to tell."""
        if rejected.to.reply_to:
            batch.notices.append(Notice(rejected, None))
        else:
            batch.park(letter, rejected)

    async def _finish(self, batch: _Batch, announcing: Announcing, before: asyncio.Task[None] | None) -> None:
        """Acknowledge a batch when its announcement is confirmed, and so is the batch before it."""
        started = time.perf_counter()
        announced = await announcing.judged()
        self._beat.step()
        took_ms = (time.perf_counter() - batch.taken_at) * 1000
        self._sweeper.withdraw(announced.unreachable)
        for letter, rejected in batch.parked:
            body = letter.delivery.body
            await self._announcer.park(body, letter.properties, rejected.reason, rejected.detail)
        self._checkpoint("announced")
        if before is not None:
            await before
        await self._keeper.persist(lambda: self._keeper.store.confirm(announced.entries), self._beat.step)
        await self._partition.acknowledge(batch.last_tag)
        self._beat.step()
        self._checkpoint("acknowledged")
        self._observers.tell(
            Served(
                self._partition.number,
                len(batch.letters),
                batch.requests,
                batch.notices,
                batch.store_ms,
                took_ms,
                batch.taken_ns,
                len(batch.parked),
                len(announced.unreachable),
                announced.refused,
            )
        )
        counts = Counter(type_of(notice.event) for notice in batch.notices)
        _log.info(
            "batch.served",
            partition=self._partition.number,
            messages=len(batch.letters),
            store_ms=round(batch.store_ms, 1),
            announce_ms=round((time.perf_counter() - started) * 1000, 1),
            parked=len(batch.parked),
            unreachable=len(announced.unreachable),
            refused=announced.refused,
            **counts,
        )


def _unserved(letter: Letter, error: ConversationError, now_ms: int) -> Rejected:
    command = letter.command
    assert command is not None  # noqa: S101 - only what was understood reached the store
    return Rejected(
        conversation_id=command.conversation_id,
        number=None,
        request_id=command.request_id,
        holder=None,
        at_ms=now_ms,
        to=command.sender,
        reason="invalid",
        detail=f"conversation_id: the lock store cannot work on this conversation: {error}"[:500],
    )
