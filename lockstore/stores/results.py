"""The values that lock stores return to the daemon."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lockstore.core.commands import Expire
from lockstore.core.events import Event
from lockstore.core.ticket import Ticket, TicketLock
from lockstore.errors import ConversationError

__all__ = ["LEFT_BEHIND_MS", "Entry", "NewTicket", "Notice", "Outcome", "Patrol", "Shard", "Turn", "Unreadable"]

LEFT_BEHIND_MS = 3000
"""The age from which a committed event counts as left behind: several times what publishing it takes."""

Shard = int | str
"""The key of deadlines and outboxes: a shard number, or a conversation id."""


class Entry(NamedTuple):
    """The position of a committed event in an outbox, where it stays until RabbitMQ has confirmed it."""

    shard: Shard
    id: str


class Notice(NamedTuple):
    """An event to publish. `entry` is None if no outbox keeps it, because redelivery of its message produces it again."""

    event: Event
    entry: Entry | None


class Unreadable(NamedTuple):
    """An outbox record that is not a valid event: its raw content, and why it cannot be read."""

    entry: Entry
    record: bytes
    reason: str


Outcome = tuple[Notice, ...] | ConversationError
"""The result of one command: events to publish, or why this conversation could not be processed."""


class Turn(NamedTuple):
    """The state of a direct ticket. `left_ms` is the time until its own deadline or the head's, whichever is earlier."""

    head: int | None
    in_line: bool
    left_ms: int
    line: TicketLock | None = None
    """The whole line, if this ticket is at its head."""


@dataclass(slots=True)
class NewTicket:
    """A direct ticket to be issued, with what identifies it if the reply with its number is lost."""

    lifetime_ms: int
    mark: int
    """A random number of up to 13 digits that identifies the ticket, in stores that can keep it with the ticket."""
    written: Ticket | None = None
    """The ticket as it was about to be written, in stores that write whole lines."""


@dataclass(slots=True)
class Patrol:
    """The result of sweeping shards: expired deadlines, unpublished events, and when to check again."""

    overdue: list[Expire] = field(default_factory=list)
    unannounced: list[Notice] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    next_in_ms: dict[Shard, int] = field(default_factory=dict)

    def add(self, other: "Patrol") -> None:
        """Merge another result into this one."""
        self.overdue += other.overdue
        self.unannounced += other.unannounced
        self.unreadable += other.unreadable
        self.next_in_ms |= other.next_in_ms
