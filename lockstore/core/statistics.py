"""Statistics of lines for operators: values, and counting lines that are read one by one. Pure.

Times are those of the lock store's clock, in whole milliseconds.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from lockstore.core.events import UNREADABLE, recorded_at_ms
from lockstore.core.ticket import Ticket, TicketLock

__all__ = [
    "DEEPEST",
    "OVERDUE_MS",
    "UNANNOUNCED_MS",
    "UNREADABLE_MOST",
    "Backlog",
    "LineStatistics",
    "LineSummary",
    "Pending",
    "Tally",
    "backlog_of",
    "summary_of",
]

DEEPEST = 10_000
"""How many of the longest lines the pages show; shorter ones are found by searching for their conversation id."""

OVERDUE_MS = 5000
"""From then on a deadline that no daemon has handled is a finding: sweepers handle one within two seconds."""

UNANNOUNCED_MS = 10_000
"""From then on an event that is not announced is one: that takes milliseconds, and what was left behind is found within seconds."""

UNREADABLE_MOST = 20
"""Lines whose data is damaged that a survey names."""


@dataclass(frozen=True, slots=True)
class LineSummary:
    """One line: its number of tickets, its head, and since when its first waiting ticket has waited.

    `waiting_since_ms` is None if no ticket waits. For direct tickets only `concurrent_redis` knows the arrival time.
    """

    conversation_id: str
    tickets: int
    head: Ticket | None
    waiting_since_ms: int | None


@dataclass(frozen=True, slots=True)
class LineStatistics:
    """All lines that have tickets, at one moment, and a page of them: longest first, then by conversation id.

    `waiting` counts the tickets that are not at the head of their line. If not `complete`, the store could not read all
    lines, and all figures cover only those it did read.
    """

    at_ms: int
    lines: int
    tickets: int
    waiting: int
    oldest_wait_ms: int | None
    longest: tuple[LineSummary, ...]
    complete: bool
    oldest_wait_in: str | None = None
    """The conversation with the longest wait, `oldest_wait_ms`. It need not have the longest line."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Conversations whose data is damaged, each with what is wrong with it: those that were met, `UNREADABLE_MOST` at the most."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """A store's backlog: events in its outboxes, the age of the oldest, and overdue deadlines.

    With `concurrent_redis` an event stays in the outbox for up to a second after it was published.
    """

    outbox: int
    outbox_oldest_ms: int | None
    overdue: int
    overdue_most_ms: int | None


class Pending(NamedTuple):
    """The pending work of one line. Times in ms of the store's clock."""

    deadlines_ms: tuple[int, ...]
    """The deadlines of its tickets."""
    kept: int
    """The number of unpublished events."""
    kept_since_ms: int | None
    """The time of the oldest of them."""

    @classmethod
    def of(cls, lock: TicketLock) -> "Pending":
        """Summarize a line."""
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
    """Sum up the pending work of lines."""
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
    """Return the arrival time of the first waiting ticket, None if no ticket waits or the time is unknown."""
    waiting = (ticket.claim for ticket in lock.tickets if ticket.claim and ticket.claim.granted_at_ms is None)
    first = next(waiting, None)
    return None if first is None else first.queued_at_ms


def summary_of(lock: TicketLock) -> LineSummary:
    """Summarize a line."""
    head = lock.tickets[0] if lock.tickets else None
    return LineSummary(lock.conversation_id, len(lock.tickets), head, _waiting_since_ms(lock))


@dataclass(slots=True)
class Tally:
    """Counts lines, and keeps the longest ones."""

    lines: int = 0
    tickets: int = 0
    first_wait: tuple[int, str] | None = None
    """Since when the longest-waiting ticket has waited, and its conversation."""
    _seen: list[tuple[int, str, TicketLock]] = field(default_factory=list)

    def add(self, lock: TicketLock) -> None:
        """Count a line that has tickets."""
        self.lines += 1
        self.tickets += len(lock.tickets)
        since_ms = _waiting_since_ms(lock)
        if since_ms is not None:
            wait = since_ms, lock.conversation_id
            self.first_wait = wait if self.first_wait is None else min(self.first_wait, wait)
        self._seen.append((-len(lock.tickets), lock.conversation_id, lock))

    def page(self, most: int, start: int) -> tuple[LineSummary, ...]:
        """Return a page of the longest lines, beginning at `start`."""
        longest = heapq.nsmallest(min(start + most, DEEPEST), self._seen, key=lambda seen: seen[:2])
        return tuple(summary_of(lock) for _, _, lock in longest[start:])
