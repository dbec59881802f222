"""`LockStore`, the base class of every lock store: the interface for bots that Rasa defines, and the one for the daemon.

A subclass needs only `get_lock`, `save_lock` and `delete_lock`; everything else is inherited. Each line is then one value
that is read, changed by the rules and written back, one caller at a time within this process. Our own stores override that.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
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
    """Subclass this to write your own store: implement `get_lock`, `save_lock` and `delete_lock`, sync or async.

    Save the whole lock (`lock.dumps()` serializes all of it): besides Rasa's tickets it carries what ordering,
    fencing and publishing events need. The daemon never deletes a lock that has issued a number, because a number
    must never be issued twice. Let errors of your storage propagate: the daemon retries. Raise `ConversationError` if
    only this conversation's data is bad: the daemon rejects its message and serves the others.
    """

    limits = Limits()
    parallel = False  # whether several conversations may be processed concurrently
    on_unannounced: Callable[[Shard], None] | None = None
    patience_s: float | None = None  # a daemon whose batch takes longer counts as stalled; None: one second per message
    lists_lines = False  # whether the storage can list its lines; otherwise this process tracks the lines it has seen
    knows_all_lines = False  # whether `roster` covers all lines
    in_hand: Container[Entry] = frozenset()  # events that its daemon is publishing: a patrol may leave them out
    looks_most = 2000  # lines read by one call of `statistics`

    # --- to be written by a store ---------------------------------------------------------------------------------

    def get_lock(self, conversation_id: str) -> Awaitable[TicketLock | None] | TicketLock | None:
        """Return the stored lock, or None."""
        raise NotImplementedError

    def save_lock(self, lock: TicketLock) -> Awaitable[None] | None:
        """Store the lock under its `conversation_id`."""
        raise NotImplementedError

    def delete_lock(self, conversation_id: str) -> Awaitable[None] | None:
        """Delete the stored lock, if any."""
        raise NotImplementedError

    async def open(self) -> None:
        """Connect, if there is anything to connect to. Raises StoreError."""

    async def warnings(self) -> list[str]:
        """Return problems with the storage's configuration and their consequences. Called once, after `open`."""
        return []

    async def close(self) -> None:
        """Close all connections."""
        await self.direct.close()

    def __init_subclass__(cls, **options: Any) -> None:
        """Make a subclass's own `close` end direct use first."""
        super().__init_subclass__(**options)
        if "close" in vars(cls):
            cls.close = ending_direct_use(cls.close)  # type: ignore[method-assign, assignment]

    # --- Rasa's face, for use in a bot's own process -----------------------------------------------------------------

    def lock(
        self, conversation_id: str, lock_lifetime: float = LOCK_LIFETIME_S, wait_time_in_seconds: float = 1
    ) -> AbstractAsyncContextManager[TicketLock]:
        """Hold a conversation's lock for the duration of the context. Its lifetime (seconds) starts when the ticket is issued.

        Waiting ends on a notification if the store supports them; `wait_time_in_seconds` is the polling interval.
        Raises LockError if the ticket ends before its turn, StoreError if the store is unavailable.
        """
        return self.direct.hold(conversation_id, whole_ms(lock_lifetime), wait_time_in_seconds)

    async def issue_ticket(self, conversation_id: str, lock_lifetime: float = LOCK_LIFETIME_S) -> int:
        """Append a direct ticket to the line, valid for `lock_lifetime` seconds from now, and return its number."""
        number, _ = await self.enter(conversation_id, whole_ms(lock_lifetime))
        return number

    async def is_someone_waiting(self, conversation_id: str) -> bool:
        """Return whether the line has any ticket, including the holder's."""
        self.direct.event_loop.check()
        lock = await call_maybe_async(self.get_lock, conversation_id)
        return lock is not None and lock.is_someone_waiting()

    async def finish_serving(self, conversation_id: str, ticket_number: int) -> None:
        """Remove a direct ticket from the line, granted or not."""
        await self.act(Finish(conversation_id, ticket_number))

    async def cleanup(self, conversation_id: str, ticket_number: int) -> None:
        """Remove a ticket. If the line is empty afterwards, only the data needed for fencing remains."""
        await self.finish_serving(conversation_id, ticket_number)

    async def get_or_create_lock(self, conversation_id: str) -> TicketLock:
        """Return the stored lock; if there is none, store an empty one and return it."""
        self.direct.event_loop.check()
        lock = await call_maybe_async(self.get_lock, conversation_id)
        return await self.create_lock(conversation_id) if lock is None else lock

    async def create_lock(self, conversation_id: str) -> TicketLock:
        """Store an empty lock and return it. Its numbers continue after those of the lock it replaces."""
        before, _ = await self.read(conversation_id)
        lock = TicketLock(conversation_id, None, None if before is None else before.last_number)
        await call_maybe_async(self.save_lock, lock)
        return lock

    # --- what the daemon asks ----------------------------------------------------------------------------------------

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Apply commands, those of one conversation in order, and return one outcome for each.

        Raises StoreUnavailableError; the state of every command is then unknown, and all may safely be applied again.
        """
        return await self.lines.apply(commands, self.limits)

    async def confirm(self, entries: Sequence[Entry]) -> None:
        """Remove events from the outbox that RabbitMQ has confirmed."""
        await self.lines.confirm(entries)

    def shard_of(self, conversation_id: str) -> Shard:
        """Return the shard that keeps this conversation's deadlines."""
        return conversation_id

    def shards(self) -> Sequence[Shard]:
        """Return the shards to sweep regularly."""
        return self.lines.attention

    async def follow(self, left_behind: Callable[[Shard], None]) -> None:
        """Call `left_behind` when a direct caller leaves events to publish, as far as this store learns of it.

        Like every hint, it may be lost: a patrol then finds the events later.
        """
        self.on_unannounced = left_behind

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Find expired deadlines in some shards, and unpublished events that are at least `age_ms` old."""
        return await self.lines.patrol(shards, age_ms)

    # --- what operators ask ------------------------------------------------------------------------------------------

    async def statistics(self, most: int, start: int = 0) -> LineStatistics:
        """Count all lines, and summarize `most` of them, longest first, skipping the first `start`."""
        return await self.overview.statistics(most, start)

    async def find(self, text: str, most: int) -> list[str]:
        """Return live conversations whose id contains `text` (not a pattern); an exact match comes first."""
        return await self.overview.find(text, most)

    async def view(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Return a line (None if it is empty) and the store's clock in ms."""
        return await self.overview.view(conversation_id)

    async def history(self, conversation_id: str) -> list[Event]:
        """Return the last public events of a conversation, oldest first, as far as `limits` retains them."""
        return await self.overview.history(conversation_id)

    async def force_release(self, conversation_id: str, by: str, number: int | None = None) -> Event | None:
        """End the holder's lease, or remove the given ticket from the line. Returns None if there was none.

        `by` names the operator and is published with the event. Raises ValueError for an invalid name (`ForceRelease`).
        """
        command = ForceRelease(conversation_id, by, number)
        taken = taken_by(await self.lines.force_release(command, self.limits))
        self.hint_unannounced(conversation_id)
        return taken

    async def backlog(self) -> Backlog:
        """Return how many events are unpublished and how many deadlines are overdue. Cheap enough to call every few seconds."""
        return await self.overview.backlog()

    def audit(self) -> AsyncIterator[Audited]:
        """Check every line for inconsistencies without changing anything. Yields findings and progress."""
        return ValuesAudit(self).run()

    # --- how the inherited steps are made; a store of this project may replace them ----------------------------------

    @cached_property
    def wakeups(self) -> Wakeups:
        """The callers in this process that wait for a turn."""
        return Wakeups()

    @cached_property
    def direct(self) -> DirectTickets:
        """The direct tickets of this process."""
        return DirectTickets(self)

    @cached_property
    def lines(self) -> LineEngine:
        """The rules, applied to this store's values."""
        return LineEngine(self, self.wakeups)

    @cached_property
    def overview(self) -> OperatorQueries:
        """Queries for operators, answered from this store's values."""
        return ScanningQueries(self)

    async def roster(self) -> AsyncIterator[Sequence[str]]:
        """Iterate over conversations that may have tickets: those that this process has seen."""
        yield list(self.lines.known)

    async def pending(self) -> Iterable[Pending]:
        """Return the pending work of the lines that this process has seen; patrols keep it current."""
        return list(self.lines.known.values())

    async def clock_ms(self) -> int:
        """Return the store's clock."""
        return time.time_ns() // 1_000_000

    @cached_property
    def _mutexes(self) -> WeakValueDictionary[str, asyncio.Lock]:
        return WeakValueDictionary()

    async def listen(self, conversation_id: str) -> None:
        """Ensure that wake-up hints for this conversation arrive, if the store has hints."""

    async def enter(self, conversation_id: str, lifetime_ms: int) -> tuple[int, Turn]:
        """Issue a direct ticket, in the order of the calls in this process. Returns its number and state."""
        return await self.direct.enter(conversation_id, lifetime_ms)

    async def issue_all(
        self, conversation_id: str, tickets: Sequence[NewTicket]
    ) -> Sequence[tuple[int, Turn] | ConversationError]:
        """Issue direct tickets of one conversation in this order, and return their numbers and states."""
        entered = await self.lines.issue_all(conversation_id, tickets, self.limits)
        self.hint_unannounced(conversation_id)
        return entered

    async def retract(self, conversation_id: str, ticket: NewTicket) -> bool:
        """Remove a direct ticket whose number was lost with the reply. Returns whether no further attempt is needed."""
        found = await self.lines.retract(conversation_id, ticket, self.limits)
        self.hint_unannounced(conversation_id)
        return found

    async def turn(self, conversation_id: str, number: int) -> Turn:
        """End overdue tickets and grant the next, end this direct ticket if its deadline has passed, and return its state."""
        self.direct.event_loop.check()
        return await self.lines.turn(conversation_id, number, self.limits)

    async def act(self, command: Issue | Finish) -> int:
        """Apply a direct caller's command, and return the last number issued in its line."""
        self.direct.event_loop.check()
        number = await self.lines.act(command, self.limits)
        self.hint_unannounced(command.conversation_id)
        return number

    def hint_unannounced(self, conversation_id: str) -> None:
        """Signal that events of this conversation may be waiting to be published."""
        if self.on_unannounced is not None:
            self.on_unannounced(self.shard_of(conversation_id))

    async def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> T:  # noqa: ARG002
        """Change one line, one caller at a time within this process. `direct`: on behalf of a direct caller."""
        mutex = self._mutexes.setdefault(conversation_id, asyncio.Lock())
        async with mutex:
            lock, now_ms = await self.read(conversation_id)
            before = lock or TicketLock(conversation_id)
            after, result = step(before, now_ms)
            if after.is_forgettable and after.last_number is None:
                if lock is not None:
                    await call_maybe_async(self.delete_lock, conversation_id)
            elif after != before:
                await call_maybe_async(self.save_lock, after)
            return result

    async def read(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Return one line, and the store's clock in ms."""
        return await call_maybe_async(self.get_lock, conversation_id), await self.clock_ms()

    async def read_all(
        self, conversation_ids: Sequence[str]
    ) -> list[tuple[TicketLock | None, int] | ConversationError]:
        """Return each line with the store's clock in ms; an error takes the place of a line whose data is bad."""
        found: list[tuple[TicketLock | None, int] | ConversationError] = []
        for conversation_id in conversation_ids:
            try:
                found.append(await self.read(conversation_id))
            except ConversationError as error:
                found.append(error)
        return found
