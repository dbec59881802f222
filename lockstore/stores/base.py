"""`LockStore`: the base class of every lock store. Rasa's face for bots, and what the daemon asks of any store.

A store needs no more than `get_lock`, `save_lock` and `delete_lock`, sync or async; all else is inherited. A line is then
one value, read, changed by the rules and written back, one caller at a time within this process. The stores of this
project replace those steps where they can do better.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from lockstore.core.commands import Command, Finish, ForceRelease, Issue
from lockstore.core.events import Event, taken_by
from lockstore.core.rules import Limits
from lockstore.core.statistics import Backlog, LineStatistics, Pending
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.audit import Audited, ValuesAudit
from lockstore.stores.direct_tickets import LOCK_LIFETIME_S, DirectTickets, ending_direct_use, whole_ms
from lockstore.stores.line_engine import LineEngine, Step
from lockstore.stores.maybe_async import call_maybe_async
from lockstore.stores.queries import OperatorQueries, ScanningQueries
from lockstore.stores.results import Entry, NewTicket, Outcome, Patrol, Shard, Turn
from lockstore.stores.wakeups import Wakeups

__all__ = ["LOCK_LIFETIME_S", "LockStore"]

T = TypeVar("T")


class LockStore:
    """Derive from this for a store of your own: write `get_lock`, `save_lock` and `delete_lock`, sync or async.

    Save the whole lock (`lock.dumps()` has all of it): besides Rasa's tickets it carries what order, fencing and
    announcing need. The daemon never deletes a lock that has issued a number, because that number must not come again.
    Let an error of your storage be raised: the daemon tries again. Raise `ConversationError` where only this one
    conversation's data is bad: its message is parked, and the others go on.
    """

    limits = Limits()
    parallel = False  # whether several conversations may be worked on at once
    on_unannounced: Callable[[Shard], None] | None = None
    patience_s: float | None = None  # a daemon that waits longer for a batch counts as stuck; None: a second a message
    lists_lines = False  # whether the storage itself can list its lines; else this process keeps in mind which it saw
    knows_all_lines = False  # whether the roster has them all
    looks_most = 2000  # lines that one survey reads

    # --- to be written by a store ---------------------------------------------------------------------------------

    def get_lock(self, conversation_id: str) -> Awaitable[TicketLock | None] | TicketLock | None:
        """Give the stored lock, or None."""
        raise NotImplementedError

    def save_lock(self, lock: TicketLock) -> Awaitable[None] | None:
        """Store the lock under its `conversation_id`."""
        raise NotImplementedError

    def delete_lock(self, conversation_id: str) -> Awaitable[None] | None:
        """Remove the stored lock, if there is one."""
        raise NotImplementedError

    async def open(self) -> None:
        """Connect, where there is something to connect to. Raises StoreError."""

    async def warnings(self) -> list[str]:
        """Say what is doubtful about the storage as it is configured, and what may follow; asked once, after `open`."""
        return []

    async def close(self) -> None:
        """Let go of connections."""
        await self.direct.close()

    def __init_subclass__(cls, **options: Any) -> None:
        """Have direct use end before a class's own `close`."""
        super().__init_subclass__(**options)
        if "close" in vars(cls):
            cls.close = ending_direct_use(cls.close)  # type: ignore[method-assign, assignment]

    # --- Rasa's face, for use in a bot's own process -----------------------------------------------------------------

    def lock(
        self, conversation_id: str, lock_lifetime: float = LOCK_LIFETIME_S, wait_time_in_seconds: float = 1
    ) -> AbstractAsyncContextManager[TicketLock]:
        """Hold a conversation while the context lasts; its lifetime (seconds) counts from the issue of the ticket.

        A notification ends the waiting where the store has one; `wait_time_in_seconds` is how often to look regardless.
        Raises LockError when the ticket is gone before its turn, StoreError when the store is away.
        """
        return self.direct.hold(conversation_id, whole_ms(lock_lifetime), wait_time_in_seconds)

    async def issue_ticket(self, conversation_id: str, lock_lifetime: float = LOCK_LIFETIME_S) -> int:
        """Put a direct ticket at the end of the line, for `lock_lifetime` seconds from now, and give its number."""
        number, _ = await self.enter(conversation_id, whole_ms(lock_lifetime))
        return number

    async def is_someone_waiting(self, conversation_id: str) -> bool:
        """Tell whether any ticket is left, the one being served included."""
        self.direct.event_loop.check()
        lock = await call_maybe_async(self.get_lock, conversation_id)
        return lock is not None and lock.is_someone_waiting()

    async def finish_serving(self, conversation_id: str, ticket_number: int) -> None:
        """Take a direct ticket out of the line, whether or not its turn came."""
        await self.act(Finish(conversation_id, ticket_number))

    async def cleanup(self, conversation_id: str, ticket_number: int) -> None:
        """Finish with a ticket. Of a line that is empty then, only what fencing needs is left."""
        await self.finish_serving(conversation_id, ticket_number)

    async def get_or_create_lock(self, conversation_id: str) -> TicketLock:
        """Give the stored lock, or store an empty one and give that."""
        self.direct.event_loop.check()
        lock = await call_maybe_async(self.get_lock, conversation_id)
        return await self.create_lock(conversation_id) if lock is None else lock

    async def create_lock(self, conversation_id: str) -> TicketLock:
        """Store an empty lock and give it. Its numbers go on from those of the lock that stood there."""
        before, _ = await self.read(conversation_id)
        lock = TicketLock(conversation_id, None, None if before is None else before.last_number)
        await call_maybe_async(self.save_lock, lock)
        return lock

    # --- what the daemon asks ----------------------------------------------------------------------------------------

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Apply commands, those of one conversation in their order; one outcome for each.

        Raises StoreUnavailableError: then nothing is known of any of them, and all may safely be applied again.
        """
        return await self.lines.apply(commands, self.limits)

    async def confirm(self, entries: Sequence[Entry]) -> None:
        """Let go of events that were announced and confirmed."""
        await self.lines.confirm(entries)

    def shard_of(self, conversation_id: str) -> Shard:
        """Give what this conversation's deadlines are kept by."""
        return conversation_id

    def shards(self) -> Sequence[Shard]:
        """Give the shards to look through regularly."""
        return self.lines.attention

    async def follow(self, left_behind: Callable[[Shard], None]) -> None:
        """Have `left_behind` called where a direct caller's act leaves events to announce, as far as this store hears.

        A hint, as all of them: a patrol finds the events regardless, only later.
        """
        self.on_unannounced = left_behind

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Look through some shards for deadlines that came, and events at least `age_ms` old that nobody announced."""
        return await self.lines.patrol(shards, age_ms)

    # --- what operators ask ------------------------------------------------------------------------------------------

    async def statistics(self, most: int, start: int = 0) -> LineStatistics:
        """Count the lines, and sum up `most` of them from the `start`-th on, the longest first."""
        return await self.overview.survey(most, start)

    async def find(self, text: str, most: int) -> list[str]:
        """Give live conversations whose id contains this text, which is no pattern: one that is called just so first."""
        return await self.overview.find(text, most)

    async def view(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Give a line, None where nobody stands, and the store's clock in ms."""
        return await self.overview.view(conversation_id)

    async def history(self, conversation_id: str) -> list[Event]:
        """Give the last public events of a conversation, oldest first, as far as `limits` has them kept."""
        return await self.overview.history(conversation_id)

    async def force_release(self, conversation_id: str, by: str, number: int | None = None) -> Event | None:
        """Take the lease away from its holder, or this ticket out of the line; None: there was nothing to take.

        `by` says who does it, and everybody is told. Raises ValueError when it is no name (see `ForceRelease`).
        """
        command = ForceRelease(conversation_id, by, number)
        taken = taken_by(await self.lines.seize(command, self.limits))
        self.hint_unannounced(conversation_id)
        return taken

    async def backlog(self) -> Backlog:
        """Tell how much is left to announce and to end; cheap enough to be asked every few seconds."""
        return await self.overview.examine()

    def audit(self) -> AsyncIterator[Audited]:
        """Hold all lines against what must be true of them, without changing anything; give findings, and how far it is."""
        return ValuesAudit(self).run()

    # --- how the inherited steps are made; a store of this project may replace them ----------------------------------

    @cached_property
    def wakeups(self) -> Wakeups:
        """Who in this process waits for a turn."""
        return Wakeups()

    @cached_property
    def direct(self) -> DirectTickets:
        """The direct tickets of this process."""
        return DirectTickets(self)

    @cached_property
    def lines(self) -> LineEngine:
        """The rules at work on this store's values."""
        return LineEngine(self, self.wakeups)

    @cached_property
    def overview(self) -> OperatorQueries:
        """What operators are told, from this store's values."""
        return ScanningQueries(self)

    async def roster(self) -> AsyncIterator[Sequence[str]]:
        """Go through the conversations in which somebody may stand: those that this process has seen."""
        yield list(self.lines.known)

    async def pending(self) -> Iterable[Pending]:
        """Give what is left to do in lines: those that this process has seen, which patrols keep true."""
        return list(self.lines.known.values())

    async def clock_ms(self) -> int:
        """Ask the store's clock."""
        return time.time_ns() // 1_000_000

    @cached_property
    def _mutexes(self) -> WeakValueDictionary[str, asyncio.Lock]:
        return WeakValueDictionary()

    async def listen(self, conversation_id: str) -> None:
        """Make sure that hints about this conversation arrive, where the store has any."""

    async def enter(self, conversation_id: str, lifetime_ms: int) -> tuple[int, Turn]:
        """Issue a direct ticket, in the order of the calls in this process, and tell how it stands."""
        return await self.direct.enter(conversation_id, lifetime_ms)

    async def issue_all(
        self, conversation_id: str, tickets: Sequence[NewTicket]
    ) -> Sequence[tuple[int, Turn] | ConversationError]:
        """Issue direct tickets of one conversation in this order, and tell how each stands."""
        entered = await self.lines.issue_all(conversation_id, tickets, self.limits)
        self.hint_unannounced(conversation_id)
        return entered

    async def retract(self, conversation_id: str, ticket: NewTicket) -> bool:
        """Take out of the line a direct ticket whose number was lost with the reply; tell whether that is settled."""
        found = await self.lines.retract(conversation_id, ticket, self.limits)
        self.hint_unannounced(conversation_id)
        return found

    async def turn(self, conversation_id: str, number: int) -> Turn:
        """Settle the line, end this direct ticket if its deadline came, and tell how it stands."""
        self.direct.event_loop.check()
        return await self.lines.turn(conversation_id, number, self.limits)

    async def act(self, command: Issue | Finish) -> int:
        """Apply a direct caller's command, and give the last number issued in its line."""
        self.direct.event_loop.check()
        number = await self.lines.act(command, self.limits)
        self.hint_unannounced(command.conversation_id)
        return number

    def hint_unannounced(self, conversation_id: str) -> None:
        """Pass on the hint that events of this conversation may be left to announce."""
        if self.on_unannounced is not None:
            self.on_unannounced(self.shard_of(conversation_id))

    async def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> T:  # noqa: ARG002
        """Change one line, one caller at a time within this process. `direct`: on behalf of a direct caller."""
        mutex = self._mutexes.setdefault(conversation_id, asyncio.Lock())
        async with mutex:
            lock, now_ms = await self.read(conversation_id)
            before = lock or TicketLock(conversation_id)
            after, told = step(before, now_ms)
            if after.is_forgettable and after.last_number is None:
                if lock is not None:
                    await call_maybe_async(self.delete_lock, conversation_id)
            elif after != before:
                await call_maybe_async(self.save_lock, after)
            return told

    async def read(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Read one line, and the store's clock in ms."""
        return await call_maybe_async(self.get_lock, conversation_id), await self.clock_ms()

    async def read_all(
        self, conversation_ids: Sequence[str]
    ) -> list[tuple[TicketLock | None, int] | ConversationError]:
        """Read lines, each with the store's clock in ms; in place of one whose data is bad, the error."""
        found: list[tuple[TicketLock | None, int] | ConversationError] = []
        for conversation_id in conversation_ids:
            try:
                found.append(await self.read(conversation_id))
            except ConversationError as error:
                found.append(error)
        return found
