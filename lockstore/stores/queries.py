"""Operator queries on a store of values: lines are read one after the other, up to a limit that the result reports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Protocol

from lockstore.core.events import Event, from_history
from lockstore.core.line import history_at
from lockstore.core.rules import Limits
from lockstore.core.statistics import UNREADABLE_MOST, Backlog, LineStatistics, Pending, Tally, backlog_of
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError

__all__ = ["OperatorQueries", "ReadableStore", "ScanningQueries"]

_LINES_TOGETHER = 200  # read in one call; other tasks run in between


class OperatorQueries(Protocol):
    """The operator queries of any store; see `LockStore`."""

    def statistics(self, most: int, start: int) -> Awaitable[LineStatistics]:
        """Count the lines, and summarize some of them."""

    def find(self, text: str, most: int) -> Awaitable[list[str]]:
        """Return live conversations whose id contains `text`."""

    def view(self, conversation_id: str) -> Awaitable[tuple[TicketLock | None, int]]:
        """Return one line, and the store's clock in ms."""

    def history(self, conversation_id: str) -> Awaitable[list[Event]]:
        """Return a conversation's last public events."""

    def backlog(self) -> Awaitable[Backlog]:
        """Return how many events are unpublished and how many deadlines are overdue."""


class ReadableStore(Protocol):
    """The store interface that `ScanningQueries` needs."""

    limits: Limits
    knows_all_lines: bool
    looks_most: int

    def clock_ms(self) -> Awaitable[int]:
        """Return the store's clock."""

    def roster(self) -> AsyncIterator[Sequence[str]]:
        """Iterate over conversations that may have tickets."""

    def pending(self) -> Awaitable[Iterable[Pending]]:
        """Return the pending work of lines."""

    def read(self, conversation_id: str) -> Awaitable[tuple[TicketLock | None, int]]:
        """Return one line, and the store's clock in ms."""

    def read_all(
        self, conversation_ids: Sequence[str]
    ) -> Awaitable[list[tuple[TicketLock | None, int] | ConversationError]]:
        """Return each line with the store's clock in ms; an error takes the place of a line whose data is bad."""


class ScanningQueries:
    """Answers operator queries by reading lines."""

    def __init__(self, store: ReadableStore) -> None:
        self._store = store

    async def statistics(self, most: int, start: int) -> LineStatistics:
        """Read at most `looks_most` lines and summarize them."""
        tally, read, cut = Tally(), 0, False
        unreadable: list[tuple[str, str]] = []
        async for names in self._store.roster():
            cut = read + len(names) > self._store.looks_most
            async for lock in self._occupied(names[: self._store.looks_most - read], unreadable):
                tally.add(lock)
            read += len(names)
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
            unreadable=tuple(sorted(unreadable)),
        )

    async def find(self, text: str, most: int) -> list[str]:
        """Return live conversations whose id contains `text`: an exact match first, then in alphabetical order."""
        named = [name async for some in self._store.roster() for name in some if text in name]
        named.sort(key=lambda name: (name != text, name))
        found: list[str] = []
        async for lock in self._occupied(named):
            if len(found) >= most:
                break
            found.append(lock.conversation_id)
        return found

    async def view(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Return one line and the store's clock in ms."""
        lock, at_ms = await self._store.read(conversation_id)
        return (lock if lock is not None and lock.tickets else None), at_ms

    async def history(self, conversation_id: str) -> list[Event]:
        """Return the retained events of a conversation."""
        lock, at_ms = await self._store.read(conversation_id)
        kept = () if lock is None else history_at(at_ms, lock.history, self._store.limits)
        return [from_history(conversation_id, entry) for entry in kept]

    async def backlog(self) -> Backlog:
        """Sum up the pending work of the lines that the store knows."""
        return backlog_of(await self._store.pending(), await self._store.clock_ms())

    async def _occupied(
        self, names: Sequence[str], unreadable: list[tuple[str, str]] | None = None
    ) -> AsyncIterator[TicketLock]:
        """Yield those lines that have tickets. Those whose data is damaged are added to `unreadable`, up to its bound."""
        for place in range(0, len(names), _LINES_TOGETHER):
            some = names[place : place + _LINES_TOGETHER]
            for name, read in zip(some, await self._store.read_all(some), strict=True):
                if isinstance(read, ConversationError):
                    if unreadable is not None and len(unreadable) < UNREADABLE_MOST:
                        unreadable.append((name, str(read)))
                elif read[0] is not None and read[0].tickets:
                    yield read[0]
            await asyncio.sleep(0)
