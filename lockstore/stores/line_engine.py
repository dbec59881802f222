"""Lines that are kept as one value per conversation: read, changed by the rules, written back.

The in-memory, Redis and custom stores work this way; each store makes a single change atomic in its own way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeVar

from lockstore.core.commands import Command, Expire, Finish, ForceRelease, Issue
from lockstore.core.events import Event, is_public, to_record
from lockstore.core.line import NO_ROOM
from lockstore.core.rules import Limits, apply
from lockstore.core.statistics import Pending
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError, StoreFullError
from lockstore.stores.outbox import find_record, place_of
from lockstore.stores.results import LEFT_BEHIND_MS, Entry, NewTicket, Notice, Outcome, Patrol, Shard, Turn
from lockstore.stores.wakeups import Wakeups
from lockstore.util.task_group import TaskGroup

__all__ = ["LineEngine", "Step", "ValueStore"]

T = TypeVar("T")
Step = Callable[[TicketLock, int], tuple[TicketLock, T]]
"""A pure change of one line at a given time (ms, the store's clock). Returns the new line and the caller's result."""

_TOGETHER = 64  # conversations of a batch processed concurrently, if the store allows it


class ValueStore(Protocol):
    """The store interface that `LineEngine` needs."""

    parallel: bool
    lists_lines: bool

    def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> Awaitable[T]:
        """Change one line atomically."""

    def read_all(
        self, conversation_ids: Sequence[str]
    ) -> Awaitable[list[tuple[TicketLock | None, int] | ConversationError]]:
        """Return each line with the store's clock in ms; an error takes the place of a line whose data is bad."""


def _is_foreign(lock: TicketLock) -> bool:
    """Return whether tickets wait behind a direct ticket, whose process ends it without notifying anyone."""
    return len(lock.tickets) > 1 and lock.tickets[0].claim is None


def _is_ready(lock: TicketLock) -> bool:
    """Return whether the head can be granted now: a Rasa process removed the ticket before it without granting the next."""
    head = lock.tickets[0] if lock.tickets else None
    return head is not None and head.claim is not None and head.claim.granted_at_ms is None


def _without(lock: TicketLock, places: set[str]) -> TicketLock:
    return replace(lock, outbox=tuple(item for item in lock.outbox if place_of(item[1]) not in places))


def _turn(lock: TicketLock, number: int, now_ms: int) -> Turn:
    head = lock.tickets[0] if lock.tickets else None
    own = next((ticket for ticket in lock.tickets if ticket.number == number), None)
    if head is None or own is None:
        return Turn(None if head is None else head.number, in_line=False, left_ms=0)
    left_ms = min(head.expires_ms, own.expires_ms) - now_ms
    return Turn(head.number, in_line=True, left_ms=left_ms, line=lock if own is head else None)


class LineEngine:
    """Applies commands and patrols to a store of values, and answers for direct tickets."""

    def __init__(self, store: ValueStore, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups
        self._attention: set[str] = set()
        self.known: dict[str, Pending] = {}
        """Lines with tickets or unpublished events, as last seen by this process; unused if the store lists its lines."""

    @property
    def attention(self) -> list[str]:
        """Conversations to check regularly, because they may change without this process noticing."""
        return list(self._attention)

    @staticmethod
    def look_at_ms(lock: TicketLock) -> int | None:
        """Return when to check a line next: None for never, 0 for every patrol."""
        if _is_foreign(lock) or _is_ready(lock):
            return 0
        left_behind_at = (kept_at_ms + LEFT_BEHIND_MS if kept_at_ms else 0 for kept_at_ms, _ in lock.outbox)
        return min((*left_behind_at, *(ticket.expires_ms for ticket in lock.tickets)), default=None)

    def is_attended(self, conversation_id: str) -> bool:
        """Return whether a conversation is checked by every patrol."""
        return conversation_id in self._attention

    async def apply(self, commands: Sequence[Command], limits: Limits) -> list[Outcome]:
        """Apply commands in order, all commands of one conversation in one change."""
        groups: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            groups.setdefault(command.conversation_id, []).append(place)
        outcomes: list[Outcome] = [()] * len(commands)

        full: list[StoreFullError] = []

        async def serve(conversation_id: str) -> None:
            places = groups[conversation_id]
            mine = [commands[place] for place in places]
            try:
                changed = await self._change(conversation_id, mine, limits)
            except StoreFullError as error:
                full.append(error)
                changed = await self._change(conversation_id, mine, replace(limits, max_waiting=NO_ROOM))
            for place, outcome in zip(places, changed, strict=True):
                outcomes[place] = outcome

        await self._for_each(groups, serve)
        if full:
            full[0].outcomes = outcomes
            raise full[0]
        return outcomes

    async def _for_each(self, conversation_ids: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
        """Process several conversations: a few concurrently if the store allows it, else one by one."""
        if not self._store.parallel:
            for conversation_id in conversation_ids:
                await work(conversation_id)
            return
        gate = asyncio.Semaphore(_TOGETHER)

        async def gated(conversation_id: str) -> None:
            async with gate:
                await work(conversation_id)

        try:
            async with TaskGroup() as group:
                for conversation_id in conversation_ids:
                    group.create_task(gated(conversation_id))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # it caused the cancellation of the others

    def _keep(self, lock: TicketLock, events: Sequence[Event], kept_at_ms: int) -> TicketLock:
        """Append public events to the line's outbox."""
        kept = [[kept_at_ms, to_record(event)] for event in events if is_public(event)]
        if not kept:
            return lock
        return replace(lock, outbox=(*lock.outbox, *kept))

    async def _change(self, conversation_id: str, commands: list[Command], limits: Limits) -> list[Outcome]:
        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, list[Outcome]]]:
            outcomes: list[Outcome] = []
            for command in commands:
                lock, events = apply(lock, command, now_ms, limits)
                outcomes.append(tuple(self._notice(event) for event in events))
                lock = self._keep(lock, events, now_ms)
            return lock, (lock, outcomes)

        try:
            lock, outcomes = await self._store.transform(conversation_id, step)
        except ConversationError as error:
            return [error] * len(commands)
        self._note(lock)
        return outcomes

    def _notice(self, event: Event) -> Notice:
        if not is_public(event):
            return Notice(event, None)
        return Notice(event, Entry(event.conversation_id, place_of(to_record(event))))

    def _note(self, lock: TicketLock) -> None:
        head = lock.tickets[0] if lock.tickets else None
        if head is not None and head.claim is None:
            self._wakeups.wake(lock.conversation_id, head.number)
        if lock.outbox or _is_foreign(lock):
            self._attention.add(lock.conversation_id)
        else:
            self._attention.discard(lock.conversation_id)
        if self._store.lists_lines:
            return
        if lock.tickets or lock.outbox:
            self.known[lock.conversation_id] = Pending.of(lock)
        else:
            self.known.pop(lock.conversation_id, None)

    async def confirm(self, entries: Sequence[Entry]) -> None:
        """Remove published events from the outboxes."""
        groups: dict[str, set[str]] = {}
        for entry in entries:
            groups.setdefault(str(entry.shard), set()).add(entry.id)

        async def remove(conversation_id: str) -> None:
            def step(lock: TicketLock, _now_ms: int) -> tuple[TicketLock, TicketLock]:
                lock = _without(lock, groups[conversation_id])
                return lock, lock

            with suppress(
                ConversationError
            ):  # the data has been damaged since; the next command on this conversation reports it
                self._note(await self._store.transform(conversation_id, step))

        await self._for_each(groups, remove)

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Check conversations for expired deadlines, and for unpublished events that are at least `age_ms` old."""
        found = Patrol()
        conversation_ids = [str(shard) for shard in shards]
        for conversation_id, read in zip(conversation_ids, await self._store.read_all(conversation_ids), strict=True):
            # A command on this conversation reports bad data; it must not hold up the other conversations.
            lock, now_ms = (None, 0) if isinstance(read, ConversationError) else read
            if lock is None:
                self._attention.discard(conversation_id)
                self.known.pop(conversation_id, None)
                continue
            self._note(lock)
            deadlines = [(ticket.expires_ms, ticket.number) for ticket in lock.tickets]
            found.overdue += [Expire(conversation_id, number) for at_ms, number in deadlines if at_ms <= now_ms]
            if _is_ready(lock):
                found.overdue.append(
                    Expire(conversation_id, lock.tickets[0].number)
                )  # ends nothing, and grants the head
            later = [at_ms for at_ms, _ in deadlines if at_ms > now_ms]
            if later:
                found.next_in_ms[conversation_id] = min(later) - now_ms
            for kept_at_ms, record in lock.outbox:
                if kept_at_ms <= now_ms - age_ms:
                    find_record(found, conversation_id, record)
        return found

    async def issue_all(
        self, conversation_id: str, tickets: Sequence[NewTicket], limits: Limits
    ) -> list[tuple[int, Turn]]:
        """Issue direct tickets in order, in one change, and return their numbers and states."""

        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, int, list[int]]]:
            numbers: list[int] = []
            for ticket in tickets:
                lock, events = apply(lock, Issue(conversation_id, ticket.lifetime_ms), now_ms, limits)
                lock = self._keep(lock, events, 0)
                ticket.written = lock.tickets[-1]
                numbers.append(lock.highest)
            return lock, (lock, now_ms, numbers)

        lock, now_ms, numbers = await self._store.transform(conversation_id, step, direct=True)
        self._note(lock)
        return [(number, _turn(lock, number, now_ms)) for number in numbers]

    async def retract(self, conversation_id: str, ticket: NewTicket, limits: Limits) -> bool:
        """Remove a direct ticket that may have been written. Returns whether no further attempt is needed."""
        written = ticket.written
        if written is None:
            return True  # the write was never attempted

        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, bool]]:
            if written not in lock.tickets:
                return lock, (lock, False)
            lock, events = apply(lock, Finish(conversation_id, written.number), now_ms, limits)
            lock = self._keep(lock, events, 0)
            return lock, (lock, True)

        lock, found = await self._store.transform(conversation_id, step, direct=True)
        self._note(lock)
        return found

    async def turn(self, conversation_id: str, number: int, limits: Limits) -> Turn:
        """End overdue tickets and grant the next, end this ticket if its deadline has passed, and return its state."""
        lock, now_ms, _ = await self._act(Expire(conversation_id, number), limits)
        return _turn(lock, number, now_ms)

    async def act(self, command: Command, limits: Limits) -> int:
        """Apply a direct caller's command, and return the last number issued in its line."""
        lock, _, _ = await self._act(command, limits)
        return lock.highest

    async def force_release(self, command: ForceRelease, limits: Limits) -> tuple[Event, ...]:
        """Apply an operator's command, and return all resulting events."""
        _, _, events = await self._act(command, limits)
        return events

    async def _act(self, command: Command, limits: Limits) -> tuple[TicketLock, int, tuple[Event, ...]]:
        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, int, tuple[Event, ...]]]:
            lock, events = apply(lock, command, now_ms, limits)
            # No daemon is about to publish the events of a direct caller, so they count as left behind at once.
            lock = self._keep(lock, events, 0)
            return lock, (lock, now_ms, events)

        lock, now_ms, events = await self._store.transform(command.conversation_id, step, direct=True)
        self._note(lock)
        return lock, now_ms, events
