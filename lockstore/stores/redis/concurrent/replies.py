"""Parses the replies of the scripts of `concurrent_redis`. lua/_line.lua defines the layouts."""

from collections.abc import Container, Sequence
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
"""The index of the arrival time in a ticket's array."""


def tickets_of(flat: Sequence[bytes]) -> list[Ticket]:
    """Parse tickets from number, JSON array, number, ..."""
    return [ticket_of(int(number), from_json(raw)) for number, raw in zip(flat[::2], flat[1::2], strict=True)]


def waiting_since_of(flat: Sequence[bytes]) -> int | None:
    """Return the arrival time of the second ticket, None if there is none."""
    return int(from_json(flat[3])[QUEUED_AT]) if len(flat) > 3 else None  # noqa: PLR2004 - two pairs


def line_of(conversation_id: str, last: bytes, flat: Sequence[bytes]) -> TicketLock:
    """Parse a line: its last number, and its tickets."""
    return TicketLock(conversation_id, tickets_of(flat), int(last) if last else None)


def turn_of(conversation_id: str, reply: list[Any]) -> Turn:
    """Parse the state of a direct ticket (lua/_turn.lua)."""
    head, in_line, left_ms, *line = reply
    at_head = line_of(conversation_id, line[0], line[1:]) if line else None
    return Turn(None if head < 0 else head, bool(in_line), left_ms, at_head)


def notices_of(shard: Shard, reply: list[bytes]) -> tuple[Notice, ...]:
    """Parse the events to publish."""
    return tuple(
        Notice(from_record(from_json(record)), Entry(shard, entry.decode()) if entry else None)
        for entry, record in zip(reply[::2], reply[1::2], strict=True)
    )


def outcome_of(shard: Shard, reply: list[bytes]) -> Outcome:
    """Parse the outcome of a command."""
    try:
        return notices_of(shard, reply)
    except UNREADABLE as error:  # the ticket was written by another program
        return ConversationError(f"its events cannot be read: {type(error).__name__}: {error}")


def add_found(found: Patrol, shard: Shard, reply: list[Any], in_hand: Container[Entry] = frozenset()) -> str:
    """Parse the reply of a patrol, and return where to continue in the outbox. Events `in_hand` are left out.

    Outbox records are not trusted: a damaged record must not hide the others.
    """
    now_ms, next_ms, due, left, last = reply
    for member in due:
        number, _, conversation_id = member.decode().partition(":")
        found.overdue.append(Expire(conversation_id, int(number)))
    if next_ms >= 0:
        found.next_in_ms[shard] = next_ms - now_ms
    for entry_id, record in zip(left[::2], left[1::2], strict=True):
        entry = Entry(shard, entry_id.decode())
        if entry in in_hand:
            continue
        try:
            found.unannounced.append(Notice(checked_event(from_json(record)), entry))
        except UNREADABLE as error:
            found.unreadable.append(Unreadable(entry, record, f"{type(error).__name__}: {error}"))
    return f"({last.decode()}" if last else "-"


def record_age_ms(now_ms: int, record: bytes) -> int | None:
    """Return the age of an outbox record, None if it cannot be read."""
    try:
        return max(0, now_ms - recorded_at_ms(from_json(record)))
    except UNREADABLE:
        return None


def ticket_of(number: int, array: list[Any]) -> Ticket:
    """Parse a ticket's array."""
    request_id, holder, reply_to, correlation_id, user_id, trace, lifetime_ms, queued_at_ms, deadline, granted_at_ms = (
        array
    )
    if not request_id:
        return Ticket(number, deadline / 1000)
    sender = Sender(reply_to or None, correlation_id or None, user_id or None, trace or None)
    claim = Claim(request_id, lifetime_ms, queued_at_ms, granted_at_ms or None, holder or None, sender)
    return Ticket(number, deadline / 1000, claim)
