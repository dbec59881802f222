"""What anybody can know who follows the public events: who holds each conversation, and who stands in line. Pure."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from examples.demo.records import Record, What, read_holder
from lockstore.protocol.messages import (
    CancelledMessage,
    ExpiredMessage,
    GrantedMessage,
    Outbound,
    QueuedMessage,
    ReleasedMessage,
)

__all__ = ["Board", "Line", "Seat"]

RATE_WINDOW_S = 3.0
WAITS_REMEMBERED = 2_000

_WHAT = {
    QueuedMessage: What.TOLD_QUEUED,
    GrantedMessage: What.TOLD_GRANTED,
    ReleasedMessage: What.TOLD_RELEASED,
    ExpiredMessage: What.TOLD_EXPIRED,
    CancelledMessage: What.TOLD_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Seat:
    """Somebody inside: which replica, and since when on the reader's own monotonic clock."""

    replica: str
    since: float


@dataclass(slots=True)
class Line:
    """One conversation. More than one holder is a sight that an honest daemon never gives."""

    holders: dict[int, Seat] = field(default_factory=dict)  # by ticket number
    waiting: dict[int, str] = field(default_factory=dict)  # ticket number -> replica
    over: set[int] = field(default_factory=set)
    grants: int = 0

    def in_line(self) -> list[str]:
        """Give the replicas that wait, the next one first."""
        return [replica for _, replica in sorted(self.waiting.items())]


class Board:
    """Takes in public events, one after the other."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.grants = 0
        self._granted_at: deque[float] = deque()
        self.waits_s: deque[float] = deque(maxlen=WAITS_REMEMBERED)

    def hear(self, event: Outbound, now: float) -> Record | None:
        """Take in an event; give it as a record, or None if it is none of a replica's tickets."""
        replica, call = read_holder(event.holder)
        conversation, number = event.conversation_id, event.ticket_number
        if not call or conversation is None or number is None:
            return None
        line = self.lines.setdefault(conversation, Line())
        match event:
            case QueuedMessage():
                # The daemon announces deadlines over a channel of their own, so two events may change places.
                if number not in line.over and number not in line.holders:
                    line.waiting[number] = replica
            case GrantedMessage():
                self._grant(line, number, Seat(replica, now), event.waited)
            case _:
                line.waiting.pop(number, None)
                line.holders.pop(number, None)
                line.over.add(number)
        what = _WHAT[type(event)]
        return Record(what=what, at=now, replica=replica, call=call, conversation=conversation, ticket=number)

    def _grant(self, line: Line, number: int, seat: Seat, waited_s: float) -> None:
        self.grants += 1
        line.grants += 1
        self._granted_at.append(seat.since)
        self.waits_s.append(waited_s)
        if number not in line.over:
            line.waiting.pop(number, None)
            line.holders[number] = seat

    def grants_per_s(self, now: float) -> float:
        """Give the rate of the last few seconds."""
        while self._granted_at and self._granted_at[0] < now - RATE_WINDOW_S:
            self._granted_at.popleft()
        return len(self._granted_at) / RATE_WINDOW_S

    def held_by(self, replica: str) -> list[str]:
        """Give the conversations that a replica holds."""
        return [name for name, line in self.lines.items() if any(s.replica == replica for s in line.holders.values())]

    def open_tickets(self, replica: str | None = None) -> int:
        """Count the tickets that wait or are held, of one replica or of all."""
        return sum(replica in (None, owner) for line in self.lines.values() for owner in _owners(line))


def _owners(line: Line) -> Iterator[str]:
    yield from line.waiting.values()
    yield from (seat.replica for seat in line.holders.values())
