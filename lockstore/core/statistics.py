"""What operators are told of the lines as they stand: the values, and counting lines that are read one by one. Pure.

Times are those of the lock store's clock, in whole milliseconds.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from lockstore.core.events import UNREADABLE, recorded_at_ms
from lockstore.core.ticket import Ticket, TicketLock

__all__ = ["DEEPEST", "Backlog", "LineStatistics", "LineSummary", "Pending", "Tally", "backlog_of", "summary_of"]

DEEPEST = 10_000
"""Lines that a survey's pages reach: whoever looks for one further down finds it by a part of its name."""


@dataclass(frozen=True, slots=True)
class LineSummary:
    """One line: how many stand in it, who is at its head, and since when the first one who waits has done so.

    `waiting_since_ms` is None where nobody waits. Of a direct ticket only `concurrent_redis` knows when it came.
    """

    conversation_id: str
    tickets: int
    head: Ticket | None
    waiting_since_ms: int | None


@dataclass(frozen=True, slots=True)
class LineStatistics:
    """All lines in which somebody stands, at one time, and a page of them: the longest first, then by conversation id.

    `waiting` are the tickets that are not at the head of their line. Not `complete`: the store could not look at all lines,
    and all figures are of those that it did look at.
    """

    at_ms: int
    lines: int
    tickets: int
    waiting: int
    oldest_wait_ms: int | None
    longest: tuple[LineSummary, ...]
    complete: bool
    oldest_wait_in: str | None = None
    """The conversation in which `oldest_wait_ms` is waited: the longest line need not be the one that is stuck."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a store has before it: events in its outboxes and the age of the oldest, deadlines that came and nobody saw to.

    With `concurrent_redis` an event stays in the outbox for up to a second after it was announced.
    """

    outbox: int
    outbox_oldest_ms: int | None
    overdue: int
    overdue_most_ms: int | None


class Pending(NamedTuple):
    """What is left to do in one line. Times in ms of the store's clock."""

    deadlines_ms: tuple[int, ...]
    """Of its tickets."""
    kept: int
    """Events that are not announced yet."""
    kept_since_ms: int | None
    """When the oldest of them happened."""

    @classmethod
    def of(cls, lock: TicketLock) -> "Pending":
        """Sum up a line."""
        deadlines_ms = tuple(ticket.expires_ms for ticket in lock.tickets)
        return cls(deadlines_ms, len(lock.outbox), _kept_since_ms(lock))


def _kept_since_ms(lock: TicketLock) -> int | None:
    if not lock.outbox:
        return None
    kept_at_ms, record = lock.outbox[0]
    try:
        return recorded_at_ms(record)
    except UNREADABLE:
        return int(kept_at_ms)


def backlog_of(lines: Iterable[Pending], now_ms: int) -> Backlog:
    """Sum up what is left to do in all of them."""
    kept, overdue = 0, 0
    oldest_ms: int | None = None
    first_ms: int | None = None
    for line in lines:
        kept += line.kept
        oldest_ms = _earlier(oldest_ms, line.kept_since_ms)
        for at_ms in line.deadlines_ms:
            if at_ms <= now_ms:
                overdue += 1
                first_ms = _earlier(first_ms, at_ms)
    age_ms = None if oldest_ms is None else max(0, now_ms - oldest_ms)
    return Backlog(kept, age_ms, overdue, None if first_ms is None else now_ms - first_ms)


def _earlier(one_ms: int | None, other_ms: int | None) -> int | None:
    return other_ms if one_ms is None else one_ms if other_ms is None else min(one_ms, other_ms)


def _waiting_since_ms(lock: TicketLock) -> int | None:
    """Give the time at which the first ticket that waits came into line, None: nobody waits, or nobody knows."""
    waiting = (ticket.claim for ticket in lock.tickets if ticket.claim and ticket.claim.granted_at_ms is None)
    first = next(waiting, None)
    return None if first is None else first.queued_at_ms


def summary_of(lock: TicketLock) -> LineSummary:
    """Sum up a line."""
    head = lock.tickets[0] if lock.tickets else None
    return LineSummary(lock.conversation_id, len(lock.tickets), head, _waiting_since_ms(lock))


@dataclass(slots=True)
class Tally:
    """Counts lines, and keeps in mind the longest."""

    lines: int = 0
    tickets: int = 0
    first_wait: tuple[int, str] | None = None
    """Since when the one has waited that waits longest, and in which conversation."""
    _seen: list[tuple[int, str, TicketLock]] = field(default_factory=list)

    def add(self, lock: TicketLock) -> None:
        """Count one line in which somebody stands."""
        self.lines += 1
        self.tickets += len(lock.tickets)
        since_ms = _waiting_since_ms(lock)
        if since_ms is not None:
            wait = since_ms, lock.conversation_id
            self.first_wait = wait if self.first_wait is None else min(self.first_wait, wait)
        self._seen.append((-len(lock.tickets), lock.conversation_id, lock))

    def page(self, most: int, start: int) -> tuple[LineSummary, ...]:
        """Give the lines from the `start`-th on, the longest first."""
        longest = heapq.nsmallest(min(start + most, DEEPEST), self._seen, key=lambda seen: seen[:2])
        return tuple(summary_of(lock) for _, _, lock in longest[start:])
