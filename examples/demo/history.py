"""What the records of all processes say together: each call from its question to its end, and each ticket."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from examples.demo.records import Record, What

__all__ = ["Call", "History", "Key", "PublicTicket", "read"]

Key = tuple[str, int]
"""A call: whose, and which one; or a ticket: its conversation, and its number."""

ENDS = (What.LEFT, What.LEASE_LOST, What.REFUSED)
TICKET_ENDS = (What.TOLD_RELEASED, What.TOLD_EXPIRED, What.TOLD_CANCELLED)


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of `lock()`, as its own replica saw it. Moments are CLOCK_MONOTONIC seconds."""

    replica: str
    number: int
    conversation: str
    asked_at: float
    ticket: int = -1  # of its last grant, once it is inside
    first_ticket: int | None = None  # a call may come to a second one, if it slept through the turn of the first
    inside_at: float | None = None
    leaving_at: float | None = None
    ended_at: float | None = None
    end: What | None = None
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.replica} (call {self.number}, ticket {self.ticket})"


@dataclass(slots=True, kw_only=True)
class PublicTicket:
    """A ticket, as the public events tell of it."""

    replica: str
    call: int
    granted: bool = False
    end: What | None = None


@dataclass(slots=True)
class History:
    """Everything that was recorded, put in order."""

    calls: dict[Key, Call] = field(default_factory=dict)
    tickets: dict[Key, PublicTicket] = field(default_factory=dict)
    killed_at: dict[str, float] = field(default_factory=dict)
    stops: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    broken_off_at: float | None = None

    def lived(self, replica: str) -> bool:
        """Tell whether a replica could finish what it had begun."""
        return replica not in self.killed_at and self.broken_off_at is None

    def stopped_between(self, replica: str, begin: float, end: float) -> float | None:
        """Give the moment when a replica was stopped, if it stood still at any time between two others."""
        return next((at for at, until in self.stops[replica] if at <= end and until >= begin), None)

    def entered(self) -> dict[str, list[Call]]:
        """Give the calls that came inside by conversation, in the order in which they did."""
        by_conversation: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls.values():
            if call.inside_at is not None:
                by_conversation[call.conversation].append(call)
        for calls in by_conversation.values():
            calls.sort(key=lambda call: call.inside_at or 0.0)
        return dict(sorted(by_conversation.items()))

    def out_at(self, call: Call) -> float:
        """Give the moment from which a call surely did nothing inside any more.

        A replica that was killed or stopped did nothing from then on: if it lost its lease meanwhile, the client stopped it
        before it could go on.
        """
        if call.leaving_at is not None and call.end is not What.LEASE_LOST:
            return call.leaving_at
        ends = [call.leaving_at, call.ended_at, self.killed_at.get(call.replica), self.broken_off_at]
        if call.end is What.LEASE_LOST:
            ends.append(self.stopped_between(call.replica, call.inside_at or 0.0, call.ended_at or 0.0))
        return min((at for at in ends if at is not None), default=float("inf"))


def read(records: Iterable[Record]) -> History:
    """Put records together; those of one replica must come in their order, those of several may come in any."""
    history = History()
    for record in records:
        match record.what:
            case What.KILLED:
                history.killed_at[record.replica] = record.at
            case What.STOPPED:
                history.stops[record.replica].append((record.at, float("inf")))
            case What.CONTINUED:
                begin, _ = history.stops[record.replica].pop()
                history.stops[record.replica].append((begin, record.at))
            case What.BROKEN_OFF:
                history.broken_off_at = record.at
            case What.ASKED | What.INSIDE | What.LEAVING | What.LEFT | What.LEASE_LOST | What.REFUSED:
                _read_call(history, record)
            case _:
                _read_public(history, record)
    for (_, number), ticket in history.tickets.items():
        call = history.calls.get((ticket.replica, ticket.call))
        if call is not None:
            call.first_ticket = number if call.first_ticket is None else min(number, call.first_ticket)
    return history


def _read_call(history: History, record: Record) -> None:
    key = (record.replica, record.call)
    if record.what is What.ASKED:
        history.calls[key] = Call(
            replica=record.replica, number=record.call, conversation=record.conversation, asked_at=record.at
        )
        return
    call = history.calls.get(key)
    if call is None:
        return  # a reader that began later did not see its beginning
    if record.what is What.INSIDE:
        call.inside_at = record.at
        call.ticket = -1 if record.ticket is None else record.ticket
        call.first_ticket = record.ticket if call.first_ticket is None else call.first_ticket
    elif record.what is What.LEAVING:
        call.leaving_at = record.at
    else:
        call.ended_at, call.end, call.detail = record.at, record.what, record.detail


def _read_public(history: History, record: Record) -> None:
    if record.ticket is None:
        return
    key = (record.conversation, record.ticket)
    ticket = history.tickets.setdefault(key, PublicTicket(replica=record.replica, call=record.call))
    if record.what is What.TOLD_GRANTED:
        ticket.granted = True
    elif record.what in TICKET_ENDS:
        ticket.end = record.what
