"""The judgement on a history: what there was, and what is wrong with it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from harness.history import consistency as sense
from harness.history import duplicates as doubles
from harness.history import losses, order
from harness.history import positions as places
from harness.history.faults import Fault, FaultKind
from harness.history.reading import Reading, read
from harness.history.records import History

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a history comes to."""

    faults: tuple[Fault, ...]
    requests: int
    confirmed: int  # of the requests
    grants: int
    renewals: int
    ends: Mapping[str, int]  # by type and phase or reason, as `expired (held)`
    refused: Mapping[str, int]  # rejections by reason, as often as they were told
    again: int  # messages heard that had been heard before, by the same listener

    @property
    def is_well(self) -> bool:
        """Whether something was granted, and nothing is wrong."""
        return self.grants > 0 and not self.faults

    def count(self, kind: FaultKind) -> int:
        """Count the faults of one kind."""
        return sum(fault.kind is kind for fault in self.faults)


def judge(history: History) -> Verdict:
    """Judge what was recorded."""
    reading = read(history)
    faults = [fault for room in (order, losses, doubles, sense, places) for fault in room.find(reading)]
    tickets = reading.tickets.values()
    return Verdict(
        faults=tuple(faults),
        requests=len(reading.requests),
        confirmed=sum(request.is_confirmed for request in reading.requests.values()),
        grants=sum(ticket.granted is not None for ticket in tickets),
        renewals=sum(len({heard.message_id for heard in ticket.of("renewed")}) for ticket in tickets),
        ends=_ends(reading),
        refused=Counter(str(heard.body["reason"]) for heard in reading.rejections),
        again=len(history.heard) - len({(heard.listener, heard.message_id) for heard in history.heard}),
    )


def _ends(reading: Reading) -> Mapping[str, int]:
    ends = (ticket.end for ticket in reading.tickets.values() if ticket.end is not None)
    return Counter(f"{end.kind} ({end.body.get('reason') or end.body.get('phase')})" for end in ends)
