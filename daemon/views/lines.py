"""Facts about lines, tickets and conversations for display: the JSON API returns them, and the page's templates read them.

Times are whole milliseconds. Names ending in `at_ms` are times since the Unix epoch on the lock store's clock; others are
durations. None means unknown or not applicable. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from lockstore.core.events import Event
from lockstore.core.statistics import OVERDUE_MS, LineStatistics, LineSummary
from lockstore.core.ticket import Ticket, TicketLock
from lockstore.protocol.codec import encode

__all__ = [
    "TICKETS_MOST",
    "ConversationFacts",
    "HolderFacts",
    "LineFacts",
    "LinesFacts",
    "TicketFacts",
    "UnreadableFacts",
    "conversation_facts",
    "holder_of",
    "line_facts",
    "lines_facts",
]

TICKETS_MOST = 200
"""The tickets of one line that are shown."""


@dataclass(frozen=True, slots=True)
class LineFacts:
    """One line, as shown in its row."""

    conversation_id: str
    tickets: int
    ticket_number: int | None  # of the head, as are the following fields
    holder: str | None
    state: str  # of the head: held, direct (held by its own process), ready (not granted), empty
    held_ms: int | None
    lease_left_ms: int | None
    lease_ms: int | None  # the lifetime of the lease, if known
    waiting: int
    waiting_longest_ms: int | None
    trouble: str | None  # a problem, described
    reply_to: str | None = None  # of the head


@dataclass(frozen=True, slots=True)
class UnreadableFacts:
    """A conversation whose data is damaged."""

    conversation_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class LinesFacts:
    """A page of lines, longest first, and the totals of all."""

    at_ms: int
    lines_total: int
    tickets_total: int
    waiting_total: int
    waiting_longest_ms: int | None
    waiting_longest_in: str | None  # the conversation with the longest wait
    complete: bool  # whether the store sees all lines
    start: int
    most: int
    lines: tuple[LineFacts, ...]
    unreadable: tuple[UnreadableFacts, ...] = ()  # in place of those among them that cannot be read


@dataclass(frozen=True, slots=True)
class TicketFacts:
    """One ticket in its line."""

    ticket_number: int
    state: str  # holds, direct, ready, waits
    holder: str | None
    request_id: str | None
    in_state_ms: int | None  # how long it has held, or waited
    left_ms: int  # until its lease or its wait ends
    lease_ms: int | None  # the lifetime that it requested
    reply_to: str | None


@dataclass(frozen=True, slots=True)
class ConversationFacts:
    """A conversation: its line, head first, at most `TICKETS_MOST` tickets; its last public events, oldest first."""

    conversation_id: str
    at_ms: int
    partition: int
    last_number: int | None  # None: no ticket is on record
    tickets_total: int
    tickets: tuple[TicketFacts, ...]
    trouble: str | None
    history: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class HolderFacts:
    """Who holds a line."""

    ticket_number: int
    name: str | None
    held_ms: int | None
    left_ms: int | None
    behind: int  # tickets
    reply_to: str


def line_facts(line: LineSummary, at_ms: int) -> LineFacts:
    """Return the facts of one line."""
    head, claim = line.head, line.head.claim if line.head else None
    is_granted = claim is not None and claim.granted_at_ms is not None
    state = _head_state(head)
    return LineFacts(
        conversation_id=line.conversation_id,
        tickets=line.tickets,
        ticket_number=head.number if head else None,
        holder=claim.holder if claim else None,
        state=state,
        held_ms=_since(claim.granted_at_ms, at_ms) if claim else None,
        lease_left_ms=head.expires_ms - at_ms if head and (is_granted or state == "direct") else None,
        lease_ms=claim.lifetime_ms if claim and is_granted else None,
        waiting=line.tickets if state == "ready" else max(0, line.tickets - 1),
        waiting_longest_ms=_since(line.waiting_since_ms, at_ms),
        trouble=_trouble(head, at_ms),
        reply_to=claim.sender.reply_to if claim else None,
    )


def lines_facts(survey: LineStatistics, start: int, most: int) -> LinesFacts:
    """Return the facts of a page of lines. Lines may have changed since they were chosen, so they are sorted again."""
    shown = sorted(survey.longest, key=lambda line: (-line.tickets, line.conversation_id))
    return LinesFacts(
        at_ms=survey.at_ms,
        lines_total=survey.lines,
        tickets_total=survey.tickets,
        waiting_total=survey.waiting,
        waiting_longest_ms=survey.oldest_wait_ms,
        waiting_longest_in=survey.oldest_wait_in,
        complete=survey.complete,
        start=start,
        most=most,
        lines=tuple(line_facts(line, survey.at_ms) for line in shown),
        unreadable=tuple(UnreadableFacts(name, detail) for name, detail in survey.unreadable),
    )


def conversation_facts(
    conversation_id: str, lock: TicketLock | None, at_ms: int, history: Sequence[Event], partition: int
) -> ConversationFacts:
    """Return the facts of one conversation."""
    tickets = list(lock.tickets) if lock else []
    return ConversationFacts(
        conversation_id=conversation_id,
        at_ms=at_ms,
        partition=partition,
        last_number=_last_number(lock, history),
        tickets_total=len(tickets),
        tickets=tuple(_ticket_facts(place, ticket, at_ms) for place, ticket in enumerate(tickets[:TICKETS_MOST])),
        trouble=_trouble(tickets[0] if tickets else None, at_ms),
        history=tuple(from_json(encode(event)) for event in history),
    )


def holder_of(line: LineFacts | ConversationFacts) -> HolderFacts | None:
    """Return the holder of a line if it has a reply queue, else None."""
    match line:
        case LineFacts(state="held", ticket_number=int(number), reply_to=str(queue)):
            return HolderFacts(number, line.holder, line.held_ms, line.lease_left_ms, line.tickets - 1, queue)
        case ConversationFacts(tickets=(TicketFacts(state="holds", reply_to=str(queue)) as head, *_)):
            behind = line.tickets_total - 1
            return HolderFacts(head.ticket_number, head.holder, head.in_state_ms, head.left_ms, behind, queue)
    return None


def _last_number(lock: TicketLock | None, history: Sequence[Event]) -> int | None:
    """Return the last number issued. A store has it only for a line with tickets; for an empty line the history may have it."""
    if lock is not None and lock.last_number is not None:
        return lock.last_number
    return max((event.number for event in history if event.number is not None), default=None)


def _ticket_facts(place: int, ticket: Ticket, at_ms: int) -> TicketFacts:
    claim = ticket.claim
    state = "waits" if place else {"held": "holds"}.get(head := _head_state(ticket), head)
    began_at_ms = None if claim is None else claim.granted_at_ms if state == "holds" else claim.queued_at_ms
    return TicketFacts(
        ticket_number=ticket.number,
        state=state,
        holder=claim.holder if claim else None,
        request_id=claim.request_id if claim else None,
        in_state_ms=_since(began_at_ms, at_ms),
        left_ms=ticket.expires_ms - at_ms,
        lease_ms=claim.lifetime_ms if claim else None,
        reply_to=claim.sender.reply_to if claim else None,
    )


def _head_state(head: Ticket | None) -> str:
    if head is None:
        return "empty"
    if head.claim is None:
        return "direct"
    return "ready" if head.claim.granted_at_ms is None else "held"


def _since(moment_ms: int | None, at_ms: int) -> int | None:
    return None if moment_ms is None else max(0, at_ms - moment_ms)


def _trouble(head: Ticket | None, at_ms: int) -> str | None:
    if head is None:
        return None
    if at_ms - head.expires_ms > OVERDUE_MS:
        return "overdue: its deadline has passed, but no daemon has ended it"
    if _head_state(head) == "ready":
        return "not granted: this ticket is first in line, but no daemon has granted it"
    return None
