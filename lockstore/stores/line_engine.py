"""LineEngine kept as one value per conversation: read, changed by the rules, written back.

The in-memory, Redis and custom stores work this way; how one change is made atomic is the store's own affair.
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

__all__ = ["LineEngine", "Step", "ValueStore"]

T = TypeVar("T")
Step = Callable[[TicketLock, int], tuple[TicketLock, T]]
"""A pure change of one line at a time (ms) of the store's clock: the new line, and what the caller wants to know."""

_TOGETHER = 64  # conversations of one batch that are worked on at once, where the store allows it


class ValueStore(Protocol):
    """What `LineEngine` needs of a store."""

    parallel: bool
    lists_lines: bool

    def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> Awaitable[T]:
        """Change one line atomically."""

    def read_all(
        self, conversation_ids: Sequence[str]
    ) -> Awaitable[list[tuple[TicketLock | None, int] | ConversationError]]:
        """Read lines, each with the store's clock in ms; in place of one whose data is bad, the error."""


def _is_foreign(lock: TicketLock) -> bool:
    """Tell whether others wait for a direct ticket, which its own process finishes without telling anybody."""
    return len(lock.tickets) > 1 and lock.tickets[0].claim is None


def _is_ready(lock: TicketLock) -> bool:
    """Tell whether the head waits behind nobody: a Rasa process took the ticket before it away, and grants nothing."""
    head = lock.tickets[0] if lock.tickets else None
    return head is not None and head.claim is not None and head.claim.granted_at_ms is None


def _without(lock: TicketLock, places: set[str]) -> TicketLock:
    return replace(lock, outbox=tuple(item for item in lock.outbox if place_of(item[1]) not in places))


def _turn(lock: TicketLock, number: int, now_ms: int) -> Turn:
    head = lock.tickets[0] if lock.tickets else None
    own = next((ticket for ticket in lock.tickets if ticket.number == number), None)
    if head is None or own is None:
        return Turn(None if head is None else head.number, stands=False, left_ms=0)
    left_ms = min(head.expires_ms, own.expires_ms) - now_ms
    return Turn(head.number, stands=True, left_ms=left_ms, line=lock if own is head else None)


class LineEngine:
    """The daemon's work on a store of values, and the turns of direct tickets."""

    def __init__(self, store: ValueStore, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups
        self._attention: set[str] = set()
        self.known: dict[str, Pending] = {}
        """LineEngine in which somebody stands, or events are left, as this process last saw them; unless the store lists them."""

    @property
    def attention(self) -> list[str]:
        """Conversations to look at regularly: something happens there that this process may not hear of."""
        return list(self._attention)

    @staticmethod
    def look_at_ms(lock: TicketLock) -> int | None:
        """Give the time at which a line is to be looked at next, None: never. 0: at every patrol."""
        if _is_foreign(lock) or _is_ready(lock):
            return 0
        left_behind_at = (kept_at_ms + LEFT_BEHIND_MS if kept_at_ms else 0 for kept_at_ms, _ in lock.outbox)
        return min((*left_behind_at, *(ticket.expires_ms for ticket in lock.tickets)), default=None)

    def is_attended(self, conversation_id: str) -> bool:
        """Tell whether a conversation is to be looked at at every patrol."""
        return conversation_id in self._attention

    async def apply(self, commands: Sequence[Command], limits: Limits) -> list[Outcome]:
        """Apply commands in their order, each conversation's in one change."""
        groups: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            groups.setdefault(command.conversation_id, []).append(place)
        outcomes: list[Outcome] = [()] * len(commands)

        full: list[StoreFullError] = []

        async def serve(conversation_id: str) -> None:
            places = groups[conversation_id]
            mine = [commands[place] for place in places]
            try:
                told = await self._change(conversation_id, mine, limits)
            except StoreFullError as error:
                full.append(error)
                told = await self._change(conversation_id, mine, replace(limits, max_waiting=NO_ROOM))
            for place, outcome in zip(places, told, strict=True):
                outcomes[place] = outcome

        await self._for_each(groups, serve)
        if full:
            full[0].outcomes = outcomes
            raise full[0]
        return outcomes

    async def _for_each(self, conversation_ids: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
        """Work on several conversations: a few at once where the store allows it, else one after the other."""
        if not self._store.parallel:
            for conversation_id in conversation_ids:
                await work(conversation_id)
            return
        gate = asyncio.Semaphore(_TOGETHER)

        async def gated(conversation_id: str) -> None:
            async with gate:
                await work(conversation_id)

        try:
            async with asyncio.TaskGroup() as group:
                for conversation_id in conversation_ids:
                    group.create_task(gated(conversation_id))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first of them is why the others were broken off

    def _keep(self, lock: TicketLock, events: Sequence[Event], kept_at_ms: int) -> TicketLock:
        """Put into the lock's outbox what the public must hear of."""
        kept = [[kept_at_ms, to_record(event)] for event in events if is_public(event)]
        if not kept:
            return lock
        return replace(lock, outbox=(*lock.outbox, *kept))

    async def _change(self, conversation_id: str, commands: list[Command], limits: Limits) -> list[Outcome]:
        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, list[Outcome]]]:
            told: list[Outcome] = []
            for command in commands:
                lock, events = apply(lock, command, now_ms, limits)
                told.append(tuple(self._notice(event) for event in events))
                lock = self._keep(lock, events, now_ms)
            return lock, (lock, told)

        try:
            lock, told = await self._store.transform(conversation_id, step)
        except ConversationError as error:
            return [error] * len(commands)
        self._note(lock)
        return told

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
        """Let go of events that were announced."""
        groups: dict[str, set[str]] = {}
        for entry in entries:
            groups.setdefault(str(entry.shard), set()).add(entry.id)

        async def let_go(conversation_id: str) -> None:
            def step(lock: TicketLock, _now_ms: int) -> tuple[TicketLock, TicketLock]:
                lock = _without(lock, groups[conversation_id])
                return lock, lock

            with suppress(ConversationError):  # its data was damaged since; whoever asks for it next is told
                self._note(await self._store.transform(conversation_id, step))

        await self._for_each(groups, let_go)

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Look at some conversations for deadlines that came, and events at least `age_ms` old that nobody announced."""
        found = Patrol()
        conversation_ids = [str(shard) for shard in shards]
        for conversation_id, read in zip(conversation_ids, await self._store.read_all(conversation_ids), strict=True):
            # Bad data is told to whoever asks for something in this conversation; the others must not wait for it.
            lock, now_ms = (None, 0) if isinstance(read, ConversationError) else read
            if lock is None:
                self._attention.discard(conversation_id)
                self.known.pop(conversation_id, None)
                continue
            self._note(lock)
            deadlines = [(ticket.expires_ms, ticket.number) for ticket in lock.tickets]
            found.overdue += [Expire(conversation_id, number) for at_ms, number in deadlines if at_ms <= now_ms]
            if _is_ready(lock):
                found.overdue.append(Expire(conversation_id, lock.tickets[0].number))  # ends nothing, and grants
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
        """Issue direct tickets in their order, in one change; give their numbers, and tell how each stands."""

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
        """Take a direct ticket out of the line that may have been written; tell whether that is settled."""
        written = ticket.written
        if written is None:
            return True  # it never came to writing

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
        """Settle a line, end this ticket if its deadline came, and tell how it stands."""
        lock, now_ms, _ = await self._act(Expire(conversation_id, number), limits)
        return _turn(lock, number, now_ms)

    async def act(self, command: Command, limits: Limits) -> int:
        """Apply a direct caller's command, and give the last number issued in its line."""
        lock, _, _ = await self._act(command, limits)
        return lock.highest

    async def seize(self, command: ForceRelease, limits: Limits) -> tuple[Event, ...]:
        """Apply an operator's command, and give all that happened."""
        _, _, events = await self._act(command, limits)
        return events

    async def _act(self, command: Command, limits: Limits) -> tuple[TicketLock, int, tuple[Event, ...]]:
        def step(lock: TicketLock, now_ms: int) -> tuple[TicketLock, tuple[TicketLock, int, tuple[Event, ...]]]:
            lock, events = apply(lock, command, now_ms, limits)
            # What a direct caller caused is nobody's to announce yet: it counts as left behind from the start.
            lock = self._keep(lock, events, 0)
            return lock, (lock, now_ms, events)

        lock, now_ms, events = await self._store.transform(command.conversation_id, step, direct=True)
        self._note(lock)
        return lock, now_ms, events
