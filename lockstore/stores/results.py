"""What a lock store answers: the values between a store and the daemon."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lockstore.core.commands import Expire
from lockstore.core.events import Event
from lockstore.core.ticket import Ticket, TicketLock
from lockstore.errors import ConversationError

__all__ = ["LEFT_BEHIND_MS", "Entry", "NewTicket", "Notice", "Outcome", "Patrol", "Shard", "Turn", "Unreadable"]

LEFT_BEHIND_MS = 3000
"""Age from which a committed event counts as left behind: several times what announcing takes."""

Shard = int | str
"""What a store's deadlines and outboxes are kept by: a number of its own, or a conversation id."""


class Entry(NamedTuple):
    """The place of a committed event in an outbox, where it stays until it is announced."""

    shard: Shard
    id: str


class Notice(NamedTuple):
    """An event to announce; `entry` is None when no outbox keeps it (an answer that its own message brings again)."""

    event: Event
    entry: Entry | None


class Unreadable(NamedTuple):
    """A record in an outbox that is no event's: what stands there, and why it cannot be read."""

    entry: Entry
    record: bytes
    reason: str


Outcome = tuple[Notice, ...] | ConversationError
"""What came of one command: what to announce, or why this one conversation could not be worked on."""


class Turn(NamedTuple):
    """How a direct ticket stands. `left_ms` is the time until its own deadline or the head's, whichever comes first."""

    head: int | None
    stands: bool
    left_ms: int
    line: TicketLock | None = None
    """The whole line, when it is this ticket's turn."""


@dataclass(slots=True)
class NewTicket:
    """A direct ticket to be issued. Where the reply with its number is lost, it is found by what is noted here."""

    lifetime_ms: int
    mark: int
    """Random, of up to 13 digits; it tells this ticket from all others, where the store can keep it with the ticket."""
    written: Ticket | None = None
    """The ticket as it was about to be written, where the store writes whole lines."""


@dataclass(slots=True)
class Patrol:
    """What a look through some shards found: deadlines that came, events nobody announced, when to look again."""

    overdue: list[Expire] = field(default_factory=list)
    unannounced: list[Notice] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    next_in_ms: dict[Shard, int] = field(default_factory=dict)

    def add(self, other: "Patrol") -> None:
        """Take another look's findings in."""
        self.overdue += other.overdue
        self.unannounced += other.unannounced
        self.unreadable += other.unreadable
        self.next_in_ms |= other.next_in_ms
