"""Lines kept as one value per conversation: read, changed by the rules, written back.

The in-memory, Redis and custom stores work this way; how one change is made atomic is the store's own affair.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from lockstore.commands import Command, Expire
from lockstore.errors import ConversationError
from lockstore.events import Event, from_record, is_public, to_record
from lockstore.hints import Wakeups
from lockstore.outcomes import Entry, Notice, Outcome, Patrol, Shard, Turn
from lockstore.rules import Limits, apply
from lockstore.ticket import TicketLock

__all__ = ["Lines", "Step", "ValueStore"]

T = TypeVar("T")
Step = Callable[[TicketLock, int], tuple[TicketLock, T]]
"""A pure change of one line at a time (ms) of the store's clock: the new line, and what the caller wants to know."""

_TOGETHER = 64  # conversations of one batch that are worked on at once, where the store allows it


class ValueStore(Protocol):
    """What `Lines` needs of a store."""

    parallel: bool
    keeps_outbox: bool

    def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> Awaitable[T]:
        """Change one line atomically."""

    def read(self, conversation_id: str) -> Awaitable[tuple[TicketLock | None, int]]:
        """Read one line, and the store's clock in ms."""


def _place(record: list[Any]) -> str:
    """Name an event within its conversation: each ticket is queued, granted and ended at most once."""
    return f"{record[2]}.{record[0]}"


def _without(lock: TicketLock, places: set[str]) -> TicketLock:
    outbox = tuple(item for item in lock.outbox if _place(item[1]) not in places)
    return TicketLock(lock.conversation_id, lock.tickets, lock.last_number, lock.ended, outbox)


class Lines:
    """The daemon's work on a store of values, and the turns of direct tickets."""

    def __init__(self, store: ValueStore, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups
        self._attention: set[str] = set()

    @property
    def attention(self) -> list[str]:
        """Conversations to look at regularly: something happens there that this process may not hear of."""
        return list(self._attention)

    def attend(self, conversation_id: str) -> None:
        """Have a conversation looked at by the next patrol."""
        self._attention.add(conversation_id)

    async def apply(self, commands: Sequence[Command], limits: Limits) -> list[Outcome]:
        """Apply commands in their order, each conversation's in one change."""
        groups: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            groups.setdefault(command.conversation_id, []).append(place)
        outcomes: list[Outcome] = [()] * len(commands)
        gate = asyncio.Semaphore(_TOGETHER if self._store.parallel else 1)

        async def serve(conversation_id: str, places: list[int]) -> None:
            async with gate:
                told = await self._change(conversation_id, [commands[place] for place in places], limits)
            for place, outcome in zip(places, told, strict=True):
                outcomes[place] = outcome

        if self._store.parallel and len(groups) > 1:
            try:
                async with asyncio.TaskGroup() as group:
                    for conversation_id, places in groups.items():
                        group.create_task(serve(conversation_id, places))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None  # the first of them is why the others were broken off
        else:
            for conversation_id, places in groups.items():
                await serve(conversation_id, places)
        return outcomes

    def _keep(self, lock: TicketLock, events: Sequence[Event], kept_at_ms: int) -> TicketLock:
        """Put into the lock's outbox what the public must hear of."""
        kept = [[kept_at_ms, to_record(event)] for event in events if is_public(event)]
        if not kept:
            return lock
        return TicketLock(lock.conversation_id, lock.tickets, lock.last_number, lock.ended, (*lock.outbox, *kept))

    async def _change(self, conversation_id: str, commands: list[Command], limits: Limits) -> list[Outcome]:
        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, list[Outcome]]]:
            told: list[Outcome] = []
            for command in commands:
                lock, events = apply(lock, command, now_ms, limits)
                told.append(tuple(self._notice(event) for event in events))
                if self._store.keeps_outbox:
                    lock = self._keep(lock, events, now_ms)
            return lock, (lock, told)

        try:
            lock, told = await self._store.transform(conversation_id, step)
        except ConversationError as error:
            return [error] * len(commands)
        self._note(lock)
        return told

    def _notice(self, event: Event) -> Notice:
        if not (self._store.keeps_outbox and is_public(event)):
            return Notice(event, None)
        return Notice(event, Entry(event.conversation_id, _place(to_record(event))))

    def _note(self, lock: TicketLock) -> None:
        head = lock.tickets[0] if lock.tickets else None
        if head is not None and head.claim is None:
            self._wakeups.wake(lock.conversation_id, head.number)
        # A direct ticket ahead is finished by its own process, which tells nobody.
        foreign = head is not None and head.claim is None and len(lock.tickets) > 1
        if foreign or lock.outbox:
            self._attention.add(lock.conversation_id)
        else:
            self._attention.discard(lock.conversation_id)

    async def confirm(self, entries: Sequence[Entry]) -> None:
        """Let go of events that were announced."""
        groups: dict[str, set[str]] = {}
        for entry in entries:
            groups.setdefault(str(entry.shard), set()).add(entry.id)
        for conversation_id, places in groups.items():

            def step(lock: TicketLock, _now_ms: int, places: set[str] = places) -> tuple[TicketLock, TicketLock]:
                lock = _without(lock, places)
                return lock, lock

            self._note(await self._store.transform(conversation_id, step))

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Look at some conversations for deadlines that came, and events at least `age_ms` old that nobody announced."""
        found = Patrol()
        for conversation_id in map(str, shards):
            try:
                lock, now_ms = await self._store.read(conversation_id)
            except ConversationError:
                lock = None  # told to whoever asks for something in this conversation; the others must not wait for it
            if lock is None:
                self._attention.discard(conversation_id)
                continue
            self._note(lock)
            deadlines = [(ticket.expires_ms, ticket.number) for ticket in lock.tickets]
            found.overdue += [Expire(conversation_id, number) for at_ms, number in deadlines if at_ms <= now_ms]
            later = [at_ms for at_ms, _ in deadlines if at_ms > now_ms]
            if later:
                found.next_in_ms[conversation_id] = min(later) - now_ms
            for kept_at_ms, record in lock.outbox:
                if kept_at_ms <= now_ms - age_ms:
                    found.left_behind.append(Notice(from_record(record), Entry(conversation_id, _place(record))))
        return found

    async def turn(self, conversation_id: str, number: int, limits: Limits) -> Turn:
        """Settle a line, end this ticket if its deadline came, and tell how it stands."""
        lock, now_ms = await self._act(Expire(conversation_id, number), limits)
        own = next((ticket for ticket in lock.tickets if ticket.number == number), None)
        if own is None:
            return Turn(lock.tickets[0].number if lock.tickets else None, stands=False, left_ms=0)
        head = lock.tickets[0]
        return Turn(head.number, stands=True, left_ms=min(head.expires_ms, own.expires_ms) - now_ms)

    async def act(self, command: Command, limits: Limits) -> int:
        """Apply a direct caller's command, and give the last number issued in its line."""
        lock, _ = await self._act(command, limits)
        return lock.highest

    async def _act(self, command: Command, limits: Limits) -> tuple[TicketLock, int]:
        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, int]]:
            lock, events = apply(lock, command, now_ms, limits)
            # What a direct caller caused is nobody's to announce yet: every store keeps it, left behind from the start.
            lock = self._keep(lock, events, 0)
            return lock, (lock, now_ms)

        lock, now_ms = await self._store.transform(command.conversation_id, step, direct=True)
        self._note(lock)
        return lock, now_ms
