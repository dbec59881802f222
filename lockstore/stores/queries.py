"""What operators ask of a store of values: it reads line after line, up to a limit, and says whether that was all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Protocol

from lockstore.core.events import Event, from_history
from lockstore.core.line import history_at
from lockstore.core.rules import Limits
from lockstore.core.statistics import Backlog, LineStatistics, Pending, Tally, backlog_of
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError

__all__ = ["OperatorQueries", "ReadableStore", "ScanningQueries"]

_LINES_TOGETHER = 200  # that are read at once; others have their turn in between


class OperatorQueries(Protocol):
    """What operators ask of any store; `LockStore` says what it means."""

    def survey(self, most: int, start: int) -> Awaitable[LineStatistics]:
        """Count the lines, and sum up some of them."""

    def find(self, text: str, most: int) -> Awaitable[list[str]]:
        """Give live conversations by a part of their id."""

    def view(self, conversation_id: str) -> Awaitable[tuple[TicketLock | None, int]]:
        """Read one line, with the store's clock in ms."""

    def history(self, conversation_id: str) -> Awaitable[list[Event]]:
        """Read a conversation's last public events."""

    def examine(self) -> Awaitable[Backlog]:
        """Tell what is left to announce and to end."""


class ReadableStore(Protocol):
    """What `ScanningQueries` needs of a store."""

    limits: Limits
    knows_all_lines: bool
    looks_most: int

    def clock_ms(self) -> Awaitable[int]:
        """Ask the store's clock."""

    def roster(self) -> AsyncIterator[Sequence[str]]:
        """Go through the conversations in which somebody may stand."""

    def pending(self) -> Awaitable[Iterable[Pending]]:
        """Give what is left to do in lines."""

    def read(self, conversation_id: str) -> Awaitable[tuple[TicketLock | None, int]]:
        """Read one line, and the store's clock in ms."""

    def read_all(
        self, conversation_ids: Sequence[str]
    ) -> Awaitable[list[tuple[TicketLock | None, int] | ConversationError]]:
        """Read lines, each with the store's clock in ms; in place of one whose data is bad, the error."""


class ScanningQueries:
    """Looks at many lines, or at one with its past."""

    def __init__(self, store: ReadableStore) -> None:
        self._store = store

    async def survey(self, most: int, start: int) -> LineStatistics:
        """Read the lines, `looks_most` of them at the most."""
        tally, looks, cut = Tally(), 0, False
        async for names in self._store.roster():
            cut = looks + len(names) > self._store.looks_most
            async for lock in self._standing(names[: self._store.looks_most - looks]):
                tally.add(lock)
            looks += len(names)
            if cut:
                break
        at_ms = await self._store.clock_ms()
        return LineStatistics(
            at_ms=at_ms,
            lines=tally.lines,
            tickets=tally.tickets,
            waiting=tally.tickets - tally.lines,
            oldest_wait_ms=None if tally.first_wait is None else max(0, at_ms - tally.first_wait[0]),
            oldest_wait_in=None if tally.first_wait is None else tally.first_wait[1],
            longest=tally.page(most, start),
            complete=self._store.knows_all_lines and not cut,
        )

    async def find(self, text: str, most: int) -> list[str]:
        """Give live conversations by a part of their id: the one that is called just so first, then in order."""
        named = [name async for some in self._store.roster() for name in some if text in name]
        named.sort(key=lambda name: (name != text, name))
        found: list[str] = []
        async for lock in self._standing(named):
            if len(found) >= most:
                break
            found.append(lock.conversation_id)
        return found

    async def view(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Read one line."""
        lock, at_ms = await self._store.read(conversation_id)
        return (lock if lock is not None and lock.tickets else None), at_ms

    async def history(self, conversation_id: str) -> list[Event]:
        """Read what is kept of a conversation's past."""
        lock, at_ms = await self._store.read(conversation_id)
        kept = () if lock is None else history_at(at_ms, lock.history, self._store.limits)
        return [from_history(conversation_id, entry) for entry in kept]

    async def examine(self) -> Backlog:
        """Sum up what is left to do in the lines of which the store knows that."""
        return backlog_of(await self._store.pending(), await self._store.clock_ms())

    async def _standing(self, names: Sequence[str]) -> AsyncIterator[TicketLock]:
        """Read those lines in which somebody stands. A line whose data is bad is told to whoever asks for it."""
        for place in range(0, len(names), _LINES_TOGETHER):
            for read in await self._store.read_all(names[place : place + _LINES_TOGETHER]):
                if not isinstance(read, ConversationError) and read[0] is not None and read[0].tickets:
                    yield read[0]
            await asyncio.sleep(0)
