"""The verdict on a history: what it counts, and what is wrong with it. Pure: nothing here runs, waits or asks the time."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from examples.demo.history import Call, History, read
from examples.demo.records import Record, What

__all__ = ["Fault", "FaultKind", "Verdict", "handoffs_ms", "judge", "percentile"]


class FaultKind(StrEnum):
    """What must not happen."""

    OVERLAP = "overlaps"
    OUT_OF_TURN = "out of turn"
    TWICE = "tickets given twice"
    LOST = "lost requests"
    REFUSED = "refused requests"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and what it is about."""

    kind: FaultKind
    conversation: str
    text: str

    def __str__(self) -> str:
        return f"{self.conversation}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a history comes to."""

    grants: int
    conversations: int
    replicas: int
    faults: tuple[Fault, ...]
    handoffs_ms: tuple[float, ...]  # rising
    is_whole: bool  # it came to its end: what is open now stays open
    leases_lost: dict[str, int] = field(default_factory=dict)  # replica -> bodies that were stopped
    left_behind: dict[str, dict[What, int]] = field(default_factory=dict)  # killed replica -> how its tickets ended

    @property
    def is_well(self) -> bool:
        """Whether something was granted, and nothing is wrong."""
        return self.grants > 0 and not self.faults

    def count(self, kind: FaultKind) -> int:
        """Count the faults of one kind."""
        return sum(fault.kind is kind for fault in self.faults)


def judge(records: Iterable[Record]) -> Verdict:
    """Judge what was recorded. The records of one replica come in their order, those of several in any."""
    history = read(records)
    entered = history.entered()
    faults = [*_overlaps(history, entered), *_entered_out_of_turn(entered), *_numbered_out_of_turn(history)]
    faults += [*_given_twice(entered), *_unserved(history), *_left_open(history)]
    return Verdict(
        grants=sum(map(len, entered.values())),
        conversations=len(entered),
        replicas=len({call.replica for call in history.calls.values()}),
        faults=tuple(faults),
        handoffs_ms=tuple(sorted(_handoffs_ms(history, entered))),
        is_whole=history.broken_off_at is None,
        leases_lost=Counter(call.replica for call in history.calls.values() if call.end is What.LEASE_LOST),
        left_behind=_left_behind(history),
    )


def handoffs_ms(records: Iterable[Record]) -> list[float]:
    """Give the hand-offs, in no order: ms from a holder's release to the next one inside, who had asked before."""
    history = read(records)
    return list(_handoffs_ms(history, history.entered()))


def percentile(rising: tuple[float, ...] | list[float], share: float) -> float:
    """Give the value that this share of all values does not exceed; NaN if there are none."""
    return rising[max(0, math.ceil(share * len(rising)) - 1)] if rising else math.nan


# --- faults -----------------------------------------------------------------------------------------------------------


def _overlaps(history: History, entered: dict[str, list[Call]]) -> Iterator[Fault]:
    """Find who came inside while somebody was still there."""
    for conversation, calls in entered.items():
        last, last_out_at = calls[0], history.out_at(calls[0])
        for call in calls[1:]:
            inside_at, out_at = call.inside_at or 0.0, history.out_at(call)
            if inside_at < last_out_at:
                early = "" if last_out_at == math.inf else f"{(last_out_at - inside_at) * 1000:.1f} ms "
                text = f"{call} came in {early}before {last} was out"
                yield Fault(FaultKind.OVERLAP, conversation, text)
            if out_at > last_out_at:
                last, last_out_at = call, out_at


def _entered_out_of_turn(entered: dict[str, list[Call]]) -> Iterator[Fault]:
    """Find who came inside after a ticket with a higher number."""
    for conversation, calls in entered.items():
        highest = calls[0]
        for call in calls[1:]:
            if call.ticket < highest.ticket:
                yield Fault(FaultKind.OUT_OF_TURN, conversation, f"{call} came in after {highest}")
            elif call.ticket > highest.ticket:
                highest = call


def _numbered_out_of_turn(history: History) -> Iterator[Fault]:
    """Find tickets that one connection's requests did not get in the order of their publishing."""
    highest: dict[tuple[str, str], Call] = {}
    for _, call in sorted(history.calls.items()):
        if call.first_ticket is None:
            continue
        line = (call.replica, call.conversation)
        before = highest.get(line)
        if before is None or call.first_ticket > (before.first_ticket or 0):
            highest[line] = call
        elif call.first_ticket < (before.first_ticket or 0):
            text = (
                f"{call.replica} asked in call {before.number} and then in call {call.number}, "
                f"and got tickets {before.first_ticket} and {call.first_ticket}"
            )
            yield Fault(FaultKind.OUT_OF_TURN, call.conversation, text)


def _given_twice(entered: dict[str, list[Call]]) -> Iterator[Fault]:
    for conversation, calls in entered.items():
        owners: dict[int, Call] = {}
        for call in calls:
            if call.ticket in owners:
                yield Fault(FaultKind.TWICE, conversation, f"{call} has the number of {owners[call.ticket]}")
            owners.setdefault(call.ticket, call)


def _unserved(history: History) -> Iterator[Fault]:
    """Find the calls of living replicas that never ended, or ended without their turn."""
    for call in history.calls.values():
        who = f"{call.replica} (call {call.number})"
        if call.end is What.REFUSED:
            yield Fault(FaultKind.REFUSED, call.conversation, f"{who} was refused: {call.detail}")
        elif call.end is None and history.lived(call.replica):
            text = f"{who} asked and never heard of it" if call.inside_at is None else f"{who} never came out"
            yield Fault(FaultKind.LOST, call.conversation, text)


def _left_open(history: History) -> Iterator[Fault]:
    """Find tickets that never ended, those of killed replicas above all."""
    if history.broken_off_at is not None:
        return
    for (conversation, number), ticket in history.tickets.items():
        call = history.calls.get((ticket.replica, ticket.call))
        is_told = call is not None and call.end is None and history.lived(call.replica)  # as a call that never ended
        if ticket.end is None and not is_told:
            yield Fault(FaultKind.LOST, conversation, f"ticket {number} of {ticket.replica} never ended")


# --- what is told besides ---------------------------------------------------------------------------------------------


def _left_behind(history: History) -> dict[str, dict[What, int]]:
    """Count how the tickets ended that killed replicas left open."""
    left: dict[str, dict[What, int]] = {replica: Counter() for replica in history.killed_at}
    for ticket in history.tickets.values():
        call = history.calls.get((ticket.replica, ticket.call))
        if ticket.replica in left and ticket.end is not None and (call is None or call.end is None):
            left[ticket.replica][ticket.end] = left[ticket.replica].get(ticket.end, 0) + 1
    return left


def _handoffs_ms(history: History, entered: dict[str, list[Call]]) -> Iterator[float]:
    slept_through = _slept_through(history)
    for conversation, calls in entered.items():
        for holder, heir in pairwise(calls):
            begin, end = holder.leaving_at, heir.inside_at or 0.0
            if begin is None or holder.end is not What.LEFT or heir.asked_at > begin or end < begin:
                continue
            between = range(holder.ticket + 1, heir.ticket)
            if any(number in slept_through[conversation] for number in between):
                continue  # the turn was given to a replica that could not take it any more
            if all(history.stopped_between(call.replica, begin, end) is None for call in (holder, heir)):
                yield (end - begin) * 1000


def _slept_through(history: History) -> dict[str, set[int]]:
    """Give the tickets by conversation that were granted and never used."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for (conversation, number), ticket in history.tickets.items():
        call = history.calls.get((ticket.replica, ticket.call))
        if ticket.granted and (call is None or call.ticket != number):
            numbers[conversation].add(number)
    return numbers
