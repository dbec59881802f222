"""What operators ask of a store of values: it reads line after line, up to a limit, and says whether that was all."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Protocol

from lockstore.errors import ConversationError
from lockstore.events import Event, from_history
from lockstore.line import history_at
from lockstore.lines import Lines
from lockstore.rules import Limits
from lockstore.survey import Examination, Survey, Tally
from lockstore.ticket import TicketLock

__all__ = ["PAGE_LINES", "Overview", "ReadableStore", "Sight"]

PAGE_LINES = 200
"""Lines that are read together; others have their turn in between."""


class Sight(Protocol):
    """What operators ask of any store; `LockStore` says what it means."""

    def survey(self, most: int, start: int) -> Awaitable[Survey]:
        """Count the lines, and sum up some of them."""

    def find(self, text: str, most: int) -> Awaitable[list[str]]:
        """Give live conversations by a part of their id."""

    def view(self, conversation_id: str) -> Awaitable[tuple[TicketLock | None, int]]:
        """Read one line, with the store's clock in ms."""

    def history(self, conversation_id: str) -> Awaitable[list[Event]]:
        """Read a conversation's last public events."""

    def examine(self) -> Awaitable[Examination]:
        """Tell what is left to announce and to end."""


class ReadableStore(Protocol):
    """What `Overview` needs of a store."""

    limits: Limits
    knows_all_lines: bool
    looks_most: int

    @property
    def lines(self) -> Lines:
        """The rules at work on this store's values."""

    def clock_ms(self) -> Awaitable[int]:
        """Ask the store's clock."""

    def roster(self) -> AsyncIterator[Sequence[str]]:
        """Go through the conversations in which somebody may stand."""

    def read(self, conversation_id: str) -> Awaitable[tuple[TicketLock | None, int]]:
        """Read one line, and the store's clock in ms."""

    def read_all(
        self, conversation_ids: Sequence[str]
    ) -> Awaitable[list[tuple[TicketLock | None, int] | ConversationError]]:
        """Read lines, each with the store's clock in ms; in place of one whose data is bad, the error."""


class Overview:
    """Looks at many lines, or at one with its past."""

    def __init__(self, store: ReadableStore) -> None:
        self._store = store

    async def survey(self, most: int, start: int) -> Survey:
        """Read the lines, `looks_most` of them at the most."""
        tally, left, cut = Tally(), self._store.looks_most, False
        async for some in self._store.roster():
            cut = len(some) > left
            for lock in await self._standing(some[:left]):
                tally.add(lock)
            left -= len(some)
            if cut:
                break
        at_ms = await self._store.clock_ms()
        return Survey(
            at_ms=at_ms,
            lines=tally.lines,
            tickets=tally.tickets,
            waiting=tally.tickets - tally.lines,
            oldest_wait_ms=None if tally.first_wait_ms is None else max(0, at_ms - tally.first_wait_ms),
            longest=tally.page(most, start),
            complete=self._store.knows_all_lines and not cut,
        )

    async def find(self, text: str, most: int) -> list[str]:
        """Give live conversations by a part of their id: the one that is called just so first, then in order."""
        named = [name async for some in self._store.roster() for name in some if text in name]
        named.sort(key=lambda name: (name != text, name))
        found: list[str] = []
        for place in range(0, len(named), PAGE_LINES):
            found += [lock.conversation_id for lock in await self._standing(named[place : place + PAGE_LINES])]
            if len(found) >= most:
                break
        return found[:most]

    async def view(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Read one line."""
        lock, at_ms = await self._store.read(conversation_id)
        return (lock if lock is not None and lock.tickets else None), at_ms

    async def history(self, conversation_id: str) -> list[Event]:
        """Read what is kept of a conversation's past."""
        lock, at_ms = await self._store.read(conversation_id)
        kept = () if lock is None else history_at(at_ms, lock.history, self._store.limits)
        return [from_history(conversation_id, entry) for entry in kept]

    async def examine(self) -> Examination:
        """Look at what this process knows of its lines, which patrols keep true."""
        now_ms = await self._store.clock_ms()
        known = self._store.lines.known.values()
        outbox = [line.kept_since_ms for line in known if line.kept_since_ms is not None]
        due = [line.due_ms for line in known if line.due_ms is not None and line.due_ms <= now_ms]
        return Examination(
            outbox=sum(line.kept for line in known),
            outbox_oldest_ms=max(0, now_ms - min(outbox)) if outbox else None,
            overdue=len(due),
            overdue_most_ms=now_ms - min(due) if due else None,
        )

    async def _standing(self, conversation_ids: Sequence[str]) -> list[TicketLock]:
        """Read those lines in which somebody stands. A line whose data is bad is told to whoever asks for it."""
        reads = await self._store.read_all(conversation_ids)
        locks = [read[0] for read in reads if not isinstance(read, ConversationError)]
        return [lock for lock in locks if lock is not None and lock.tickets]
