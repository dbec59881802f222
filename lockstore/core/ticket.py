"""The values of a conversation's line: `Ticket`, `Claim`, `Ended` and `TicketLock`.

`Ticket` and `TicketLock` are compatible with Rasa's classes and JSON. The odd values of that interface (`now_serving` of an
empty line is 0) exist only for compatibility; the rules never use them.
"""

import json
import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NO_SENDER", "Claim", "Ended", "Ending", "Sender", "Ticket", "TicketLock"]

Ending = Literal["released", "expired", "cancelled", "busy", "line_full", "forgone"]
"""How a request ended. `forgone`: released before the request itself arrived; `busy`, `line_full`: never got a ticket."""

_NO_TICKET_ISSUED = -1  # Rasa's value for `last_issued` of an empty line


def _without_blanks(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item is not None}


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender of a message and its reply address: the AMQP properties of docs/protocol.md. None if absent."""

    reply_to: str | None = None
    correlation_id: str | None = None
    user_id: str | None = None
    traceparent: str | None = None


NO_SENDER = Sender()
"""No reply queue: only public events are sent."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a ticket of the daemon carries besides Rasa's fields: the request, its sender, and the time of the grant."""

    request_id: str
    lifetime_ms: int
    queued_at_ms: int
    granted_at_ms: int | None = None  # None while it waits
    holder: str | None = None
    sender: Sender = NO_SENDER

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are set, for JSON, including the sender's."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "sender"}
        return _without_blanks(own | asdict(self.sender))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Self":
        """Parse what `as_dict` wrote."""
        sender = {item.name: data[item.name] for item in fields(Sender) if item.name in data}
        own = {item.name: data[item.name] for item in fields(cls) if item.name in data}
        return cls(**own, sender=Sender(**sender))


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in one conversation's line.

    `expires` is its current deadline in seconds since the Unix epoch: the end of the wait, or of the lease once it is
    granted. A ticket without a claim was issued directly, as Rasa does, and has a single deadline.
    """

    number: int
    expires: float
    claim: Claim | None = None

    @property
    def expires_ms(self) -> int:
        """The deadline in whole milliseconds, the unit of the rules."""
        return round(self.expires * 1000)

    def has_expired(self) -> bool:
        """Return whether the deadline has passed on this process's clock. The rules use the store's clock instead."""
        return time.time() > self.expires

    def as_dict(self) -> dict[str, Any]:
        """Return Rasa's two fields, and the claim if there is one."""
        rasa = {"number": self.number, "expires": self.expires}
        return rasa if self.claim is None else {**rasa, "claim": self.claim.as_dict()}

    def dumps(self) -> str:
        """Serialize the ticket as Rasa does: one JSON object."""
        return json.dumps(self.as_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Self":
        """Parse Rasa's ticket or ours; without our field it is a direct one. Raises ValueError, TypeError or KeyError."""
        number, expires, claim = data["number"], data["expires"], data.get("claim")
        if not (isinstance(number, int) and math.isfinite(expires)):
            message = f"not a ticket: number {number!r}, expires {expires!r}"
            raise ValueError(message)
        return cls(number, expires, None if claim is None else Claim.from_dict(claim))


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished request, retained until `forget_at_ms` so that it is never served twice."""

    how: Ending
    number: int | None
    request_id: str
    forget_at_ms: int
    user_id: str | None = None


def _kept(item: Any) -> list[Any]:
    """Return an outbox item. An invalid one becomes a very old record, which is reported as unreadable when published."""
    is_item = isinstance(item, list) and len(item) == 2 and type(item[0]) is int  # noqa: PLR2004 - time and record
    return item if is_item else [0, item]


@dataclass(init=False, slots=True)
class TicketLock:
    """The line of one conversation: its tickets in order, and the data that outlives them.

    `last_number` is the highest number ever issued (None: none yet): no number is issued twice, even if the line was empty
    in between. `ended` are finished requests; `outbox` are unpublished events, each as [kept since (ms), record]; `history`
    are the last public events, oldest first, as written by `events.to_history`. Rasa's reader ignores all four.
    """

    conversation_id: str
    tickets: deque[Ticket]
    last_number: int | None
    ended: tuple[Ended, ...]
    outbox: tuple[list[Any], ...]
    history: tuple[list[Any], ...]

    def __init__(
        self,
        conversation_id: str,
        tickets: Iterable[Ticket] | None = None,
        last_number: int | None = None,
        ended: tuple[Ended, ...] = (),
        outbox: tuple[list[Any], ...] = (),
        history: tuple[list[Any], ...] = (),
    ) -> None:
        self.conversation_id = conversation_id
        self.tickets = deque(tickets or ())
        self.last_number = last_number
        self.ended = ended
        self.outbox = outbox
        self.history = history
        if self.tickets:  # written by Rasa, which does not store a last number
            self.last_number = max(self.tickets[-1].number, self.highest)

    @property
    def highest(self) -> int:
        """The highest number ever issued, or -1: one less than the first number of a new line."""
        return _NO_TICKET_ISSUED if self.last_number is None else self.last_number

    @property
    def is_forgettable(self) -> bool:
        """Whether nothing but the last number needs to be stored."""
        return not (self.tickets or self.ended or self.outbox or self.history)

    def in_place_of(self, before: "TicketLock") -> "TicketLock":
        """Return this line for overwriting `before`: the last number does not decrease, and unpublished events are kept."""
        last = max(before.highest, self.highest)
        return replace(
            self,
            last_number=None if last < 0 else last,
            ended=self.ended or before.ended,
            outbox=self.outbox or before.outbox,
            history=self.history or before.history,
        )

    # --- Rasa's public face -------------------------------------------------------------------------------------

    @property
    def last_issued(self) -> int:
        """The number of the last ticket in line, -1 if the line is empty."""
        self.remove_expired_tickets()
        return self.tickets[-1].number if self.tickets else _NO_TICKET_ISSUED

    @property
    def now_serving(self) -> int:
        """The number of the first ticket in line, 0 if the line is empty."""
        self.remove_expired_tickets()
        return self.tickets[0].number if self.tickets else 0

    def issue_ticket(self, lifetime: float) -> int:
        """Append a direct ticket to the line, valid for `lifetime` seconds from now, and return its number."""
        self.remove_expired_tickets()
        number = self.highest + 1
        self.tickets.append(Ticket(number, time.time() + lifetime))
        self.last_number = number
        return number

    def is_locked(self, ticket_number: int) -> bool:
        """Return whether this ticket still has to wait."""
        return self.now_serving != ticket_number

    def is_someone_waiting(self) -> bool:
        """Return whether the line has any ticket, including the holder's."""
        return bool(self.tickets)

    def remove_ticket_for(self, ticket_number: int) -> None:
        """Remove the ticket with this number, if it is in the line."""
        self.tickets = deque(ticket for ticket in self.tickets if ticket.number != ticket_number)

    def remove_expired_tickets(self) -> None:
        """Remove overdue direct tickets. The rules end the daemon's tickets, and publish that."""
        if any(ticket.claim is None and ticket.has_expired() for ticket in self.tickets):
            self.tickets = deque(
                ticket for ticket in self.tickets if ticket.claim is not None or not ticket.has_expired()
            )

    def as_dict(self) -> dict[str, Any]:
        """Return Rasa's two fields, and ours only if they add something to the tickets."""
        data: dict[str, Any] = {
            "conversation_id": self.conversation_id,
            "tickets": [ticket.dumps() for ticket in self.tickets],
        }
        if self.last_number is not None and not (self.tickets and self.tickets[-1].number == self.last_number):
            data["last_number"] = self.last_number
        if self.ended:
            data["ended"] = [asdict(ended) for ended in self.ended]
        if self.outbox:
            data["outbox"] = list(self.outbox)
        if self.history:
            data["history"] = list(self.history)
        return data

    def dumps(self) -> str:
        """Serialize the lock as Rasa does: JSON, in which each ticket is itself a JSON string."""
        return json.dumps(self.as_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Self":
        """Parse what Rasa's or our `dumps` wrote (after `json.loads`)."""
        return cls(
            data["conversation_id"],
            deque(Ticket.from_dict(json.loads(ticket)) for ticket in data.get("tickets", ())),
            data.get("last_number"),
            tuple(Ended(**ended) for ended in data.get("ended", ())),
            tuple(_kept(item) for item in data.get("outbox", ())),
            tuple(data.get("history", ())),
        )
