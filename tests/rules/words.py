"""Events and lines in words, so that a test reads as what was said.

Times are counted from `base_ms`, and ticket numbers from `first`: then the words are the same for every store.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Rejected, Released, Renewed
from lockstore.core.ticket import Ticket, TicketLock

NOTHING = "(nothing)"
EMPTY = "(empty)"


@dataclass(frozen=True)
class Words:
    base_ms: int = 0
    first: int = 0

    def of(self, event: Event) -> str:
        """Say one event, as `granted #0 a: until 1000, waited 0, behind 0 -> queue-of-a`."""
        place = "-" if event.number is None else f"#{event.number - self.first}"
        address = f" -> {event.to.reply_to}" if event.to.reply_to else ""
        again = " (again)" if event.repeated else ""
        kind = type(event).__name__.lower()
        return f"{kind} {place} {event.request_id or '-'}: {self._own(event)}{again}{address}"

    def _own(self, event: Event) -> str:  # noqa: PLR0911 - one for each kind
        match event:
            case Queued():
                return f"{event.position} ahead, until {event.wait_until_ms - self.base_ms}"
            case Granted():
                until = event.expires_at_ms - self.base_ms
                return f"until {until}, waited {event.waited_ms}, behind {event.behind}"
            case Renewed():
                return f"until {event.expires_at_ms - self.base_ms}"
            case Released():
                return f"{event.reason}{_by(event)}, held {event.held_ms}"
            case Expired():
                return event.phase
            case Cancelled():
                return f"{event.reason}{_by(event)}"
            case Rejected():
                return f"{event.reason} ({event.ended})" if event.ended else event.reason

    def all(self, events: Iterable[Event]) -> list[str]:
        return [self.of(event) for event in events] or [NOTHING]

    def line(self, lock: TicketLock | None) -> str:
        """Say who stands in line, as `#0 a holds until 1000 | #1 b waits until 500 | #2 direct until 700`."""
        return " | ".join(self._place(ticket) for ticket in lock.tickets) if lock and lock.tickets else EMPTY

    def _place(self, ticket: Ticket) -> str:
        until = f"until {ticket.expires_ms - self.base_ms}"
        if ticket.claim is None:
            who = "direct"
        else:
            who = f"{ticket.claim.request_id} {'waits' if ticket.claim.granted_at_ms is None else 'holds'}"
        return f"#{ticket.number - self.first} {who} {until}"


def _by(event: Released | Cancelled) -> str:
    return f" by {event.by}" if event.by else ""
