"""The working copy of a line while one command is applied to it. Pure."""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from lockstore.core.commands import Release, Renew, Request
from lockstore.core.events import (
    REFUSALS,
    Cancelled,
    Event,
    Expired,
    Granted,
    Queued,
    Rejected,
    Released,
    happened_at_ms,
    is_public,
    to_history,
)
from lockstore.core.ticket import Claim, Ended, Ending, Sender, Ticket, TicketLock

__all__ = ["SETTLE_MAX", "Limits", "Line", "history_at"]

SETTLE_MAX = 100
"""Overdue tickets that one command ends at the head of a line; the sweeper ends the rest. Bounds a script's run time."""


NO_ROOM = -1
"""Used as `max_waiting` when the store is full: no request gets a new ticket."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a line: tickets in it, how long (ms) a finished request is retained, the history of public events."""

    max_waiting: int = 1000  # or NO_ROOM
    dedup_window_ms: int = 300_000
    history: int = 20
    """Events retained per conversation; 0: none."""
    history_keep_ms: int = 3_600_000
    """How long they are retained."""


def history_at(now_ms: int, history: tuple[list[Any], ...], limits: Limits) -> tuple[list[Any], ...]:
    """Return what is retained of a history at this time: the last events that are young enough."""
    since_ms = now_ms - limits.history_keep_ms
    young = tuple(kept for kept in history if happened_at_ms(kept) > since_ms)
    return young[max(0, len(young) - limits.history) :]


class Line:
    """The working copy of a conversation's line while one command is applied to it, and the resulting events."""

    def __init__(self, lock: TicketLock, now_ms: int, limits: Limits) -> None:
        self.events: list[Event] = []
        self.conversation_id = lock.conversation_id
        self.tickets = deque(lock.tickets)
        self.last_number = lock.last_number
        self._ended = [ended for ended in lock.ended if ended.forget_at_ms > now_ms]
        self._lock = lock
        self.now_ms = now_ms
        self.limits = limits
        self._may_settle = SETTLE_MAX

    def as_lock(self) -> TicketLock:
        """Return the line in its current state."""
        new_entries = [to_history(event) for event in self.events if is_public(event)]
        return replace(
            self._lock,
            tickets=self.tickets,
            last_number=self.last_number,
            ended=tuple(self._ended),
            history=history_at(self.now_ms, (*self._lock.history, *new_entries), self.limits),
        )

    # --- finding --------------------------------------------------------------------------------------------------

    def find(self, number: int | None) -> Ticket | None:
        """Return the live ticket with this number."""
        return next((ticket for ticket in self.tickets if ticket.number == number), None)

    def find_request(self, request_id: str) -> Ticket | None:
        """Return the live ticket with this request id."""
        return next((ticket for ticket in self.tickets if ticket.claim and ticket.claim.request_id == request_id), None)

    def named(self, command: Release | Renew) -> Ticket | None:
        """Return the live ticket that a message refers to. An overdue one is ended now instead."""
        if command.number is not None:
            ticket = self.find(command.number)
        else:
            ticket = self.find_request(command.request_id or "")
        return None if self.end_if_overdue(ticket) else ticket

    def remembered(self, number: int | None, request_id: str | None) -> Ended | None:
        """Return how a ticket (or, without a number, a request) ended, as long as that is retained."""
        for ended in reversed(self._ended):
            if (ended.number == number) if number is not None else (ended.request_id == request_id):
                return ended
        return None

    def overdue(self, ticket: Ticket) -> bool:
        """Return whether a ticket's deadline has passed."""
        return ticket.expires_ms <= self.now_ms

    # --- telling --------------------------------------------------------------------------------------------------

    def event_fields(self, ticket: Ticket, claim: Claim) -> dict[str, Any]:
        """Return the common fields of an event about a ticket; it is sent to the latest reply address of its request."""
        return {
            "conversation_id": self.conversation_id,
            "number": ticket.number,
            "request_id": claim.request_id,
            "holder": claim.holder,
            "at_ms": self.now_ms,
            "to": claim.sender,
        }

    def reject(
        self, code: str, command: Request | Release | Renew, number: int | None, ended: Ended | None = None
    ) -> None:
        """Reject a message; the answer goes to its own sender."""
        reason, detail = REFUSALS[code]
        request_id = command.request_id or (ended.request_id if ended else None)
        how = ended.how if ended and ended.how in ("released", "expired", "cancelled") else None
        self.events.append(
            Rejected(
                conversation_id=self.conversation_id,
                number=number,
                request_id=request_id,
                holder=command.holder if isinstance(command, Request) else None,
                at_ms=self.now_ms,
                to=command.sender,
                reason=reason,
                detail=detail,
                ended=how,
            )
        )

    def state(self, ticket: Ticket, claim: Claim, *, repeated: bool) -> None:
        """Record a live ticket's state: granted, or queued with its position."""
        fields = self.event_fields(ticket, claim) | {"repeated": repeated}
        place = self.tickets.index(ticket)
        if claim.granted_at_ms is None:
            self.events.append(Queued(**fields, position=place, wait_until_ms=ticket.expires_ms))
        else:
            self.events.append(
                Granted(
                    **fields,
                    expires_at_ms=ticket.expires_ms,
                    waited_ms=claim.granted_at_ms - claim.queued_at_ms,
                    behind=len(self.tickets) - 1 - place,
                )
            )

    # --- the line's own steps ---------------------------------------------------------------------------------------

    def settle(self) -> None:
        """End overdue tickets at the head; grant the first one that is not overdue."""
        while self.tickets and self.overdue(self.tickets[0]) and self._may_settle:
            self._may_settle -= 1
            self.end_if_overdue(self.tickets[0])
        if not self.tickets or self.overdue(self.tickets[0]):
            return
        head = self.tickets[0]
        if head.claim is not None and head.claim.granted_at_ms is None:
            claim = replace(head.claim, granted_at_ms=self.now_ms)
            self.tickets[0] = granted = Ticket(head.number, (self.now_ms + claim.lifetime_ms) / 1000, claim)
            self.state(granted, claim, repeated=False)

    def end_if_overdue(self, ticket: Ticket | None) -> bool:
        """End this ticket if its deadline has passed, and return whether it had."""
        if ticket is None or not self.overdue(ticket):
            return False
        self.tickets.remove(ticket)
        if ticket.claim is not None:
            phase = "waiting" if ticket.claim.granted_at_ms is None else "held"
            self.remember("expired", ticket.number, ticket.claim.request_id, ticket.claim.sender)
            self.events.append(Expired(**self.event_fields(ticket, ticket.claim), phase=phase))
        return True

    def remember(self, how: Ending, number: int | None, request_id: str, sender: Sender) -> None:
        """Retain how a request ended, replacing what was retained of it before."""
        forget_at_ms = self.now_ms + self.limits.dedup_window_ms
        self._ended = [ended for ended in self._ended if ended.request_id != request_id]
        self._ended.append(Ended(how, number, request_id, forget_at_ms, sender.user_id))

    def next_number(self) -> int:
        """Issue the next number."""
        self.last_number = 0 if self.last_number is None else self.last_number + 1
        return self.last_number

    def cancel(self, ticket: Ticket, claim: Claim, reason: str, by: str | None = None) -> None:
        """Cancel a ticket that was not served."""
        self.tickets.remove(ticket)
        self.remember("cancelled", ticket.number, claim.request_id, claim.sender)
        self.events.append(Cancelled(**self.event_fields(ticket, claim), reason=reason, by=by))

    def release(self, ticket: Ticket, claim: Claim, reason: str, by: str | None = None) -> None:
        """Release a granted ticket."""
        self.tickets.remove(ticket)
        self.remember("released", ticket.number, claim.request_id, claim.sender)
        held_ms = self.now_ms - (claim.granted_at_ms or 0)
        self.events.append(Released(**self.event_fields(ticket, claim), held_ms=held_ms, reason=reason, by=by))
