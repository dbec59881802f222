"""What the scripts of `concurrent_redis` reply, as values. The layouts are those of lua/_line.lua."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from lockstore.core.commands import Expire
from lockstore.core.events import UNREADABLE, checked_event, from_record, recorded_at_ms
from lockstore.core.ticket import Claim, Sender, Ticket, TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.results import Entry, Notice, Outcome, Patrol, Shard, Turn, Unreadable

__all__ = [
    "QUEUED_AT",
    "add_found",
    "line_of",
    "notices_of",
    "outcome_of",
    "record_age_ms",
    "ticket_of",
    "tickets_of",
    "turn_of",
    "waiting_since_of",
]

QUEUED_AT = 7
"""Where in a ticket's array the time stands at which it came."""


def tickets_of(flat: Sequence[bytes]) -> list[Ticket]:
    """Read tickets: number, JSON array, and so on."""
    return [ticket_of(int(number), from_json(raw)) for number, raw in zip(flat[::2], flat[1::2], strict=True)]


def waiting_since_of(flat: Sequence[bytes]) -> int | None:
    """Give the time at which the second ticket came, None: there is none."""
    return int(from_json(flat[3])[QUEUED_AT]) if len(flat) > 3 else None  # noqa: PLR2004 - two pairs


def line_of(conversation_id: str, last: bytes, flat: Sequence[bytes]) -> TicketLock:
    """Read a line: its last number, and its tickets."""
    return TicketLock(conversation_id, tickets_of(flat), int(last) if last else None)


def turn_of(conversation_id: str, reply: list[Any]) -> Turn:
    """Read how a direct ticket stands (lua/_turn.lua)."""
    head, stands, left_ms, *line = reply
    at_head = line_of(conversation_id, line[0], line[1:]) if line else None
    return Turn(None if head < 0 else head, bool(stands), left_ms, at_head)


def notices_of(shard: Shard, reply: list[bytes]) -> tuple[Notice, ...]:
    """Read what is to be announced."""
    return tuple(
        Notice(from_record(from_json(record)), Entry(shard, entry.decode()) if entry else None)
        for entry, record in zip(reply[::2], reply[1::2], strict=True)
    )


def outcome_of(shard: Shard, reply: list[bytes]) -> Outcome:
    """Read what came of a command."""
    try:
        return notices_of(shard, reply)
    except UNREADABLE as error:  # it was made of a ticket that somebody else has written
        return ConversationError(f"what came of it cannot be read: {type(error).__name__}: {error}")


def add_found(found: Patrol, shard: Shard, reply: list[Any]) -> str:
    """Read what lua/patrol.lua found, and give from where in the outbox to look next.

    Nothing that an outbox keeps is believed: one record that is no event's must not hide the others.
    """
    now_ms, next_ms, due, left, last = reply
    for member in due:
        number, _, conversation_id = member.decode().partition(":")
        found.overdue.append(Expire(conversation_id, int(number)))
    if next_ms >= 0:
        found.next_in_ms[shard] = next_ms - now_ms
    for entry_id, record in zip(left[::2], left[1::2], strict=True):
        entry = Entry(shard, entry_id.decode())
        try:
            found.unannounced.append(Notice(checked_event(from_json(record)), entry))
        except UNREADABLE as error:
            found.unreadable.append(Unreadable(entry, record, f"{type(error).__name__}: {error}"))
    return f"({last.decode()}" if last else "-"


def record_age_ms(now_ms: int, record: bytes) -> int | None:
    """Give the age of what an outbox keeps, None: it cannot be read."""
    try:
        return max(0, now_ms - recorded_at_ms(from_json(record)))
    except UNREADABLE:
        return None


def ticket_of(number: int, array: list[Any]) -> Ticket:
    """Read a ticket's array."""
    request_id, holder, reply_to, correlation_id, user_id, trace, lifetime_ms, queued_at_ms, deadline, granted_at_ms = (
        array
    )
    if not request_id:
        return Ticket(number, deadline / 1000)
    sender = Sender(reply_to or None, correlation_id or None, user_id or None, trace or None)
    claim = Claim(request_id, lifetime_ms, queued_at_ms, granted_at_ms or None, holder or None, sender)
    return Ticket(number, deadline / 1000, claim)
