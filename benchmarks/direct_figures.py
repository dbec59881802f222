"""What the stays of one lock amount to. No clock and no server is asked here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import Any, Self

from benchmarks.direct_peers import Stay

__all__ = ["RACE_S", "Again", "Alone", "Idle", "Lines", "Series"]

RACE_S = 0.005  # who asks so little earlier may well reach Redis later; tickets need no such grace


@dataclass(frozen=True, slots=True)
class Alone:
    """Cycles of acquire and release in one process, with nobody to wait for."""

    per_second: float
    requests: float  # to Redis, for each cycle

    @classmethod
    def of(cls, stays: Sequence[Stay], requests: int) -> Self:
        """Take the stays of one run, and the requests that Redis read meanwhile."""
        begun = [stay.asked for stay in stays]
        return cls((len(begun) - 1) / (max(begun) - min(begun)), requests / len(stays))


@dataclass(slots=True)
class Lines:
    """Lines of waiters of which each comes once."""

    handoffs_s: list[float] = field(default_factory=list)  # from one holder's release to the next one's entry
    served_s: list[float] = field(default_factory=list)  # from the first release until the last of a line is in
    out_of_turn: int = 0
    overlaps: int = 0

    def add(self, stays: Sequence[Stay]) -> None:
        """Take one more line, the first holder's stay included."""
        ordered = sorted(stays, key=attrgetter("entered"))
        self.handoffs_s += [then.entered - one.left for one, then in pairwise(ordered)]
        self.served_s.append(ordered[-1].entered - ordered[0].left)
        self.out_of_turn += sum(_out_of_turn(ordered))
        self.overlaps += _overlaps(ordered)


@dataclass(frozen=True, slots=True)
class Again:
    """Waiters that come again at once, over some time."""

    entries_per_s: float
    handoffs_s: list[float]  # entries of another waiter than the one before
    handoffs_per_s: float
    most: int  # entries of the waiter that had the most
    fewest: int
    longest_wait_s: float
    out_of_turn: float  # share of the entries
    overlaps: int

    @classmethod
    def of(cls, stays: Sequence[Stay], waiters: int, since: float, until: float) -> Self:
        """Count between the moment when all have begun and the one from which nobody comes again."""
        everything = sorted(stays, key=attrgetter("entered"))
        passed = zip(everything, _out_of_turn(everything), strict=True)
        counted = [(stay, out) for stay, out in passed if since <= stay.entered < until]
        ordered = [stay for stay, _ in counted]
        handoffs_s = [then.entered - one.left for one, then in pairwise(ordered) if then.waiter != one.waiter]
        entries = Counter(stay.waiter for stay in ordered)
        numbers = [entries[waiter] for waiter in range(waiters)]
        return cls(
            entries_per_s=len(ordered) / (until - since),
            handoffs_s=handoffs_s,
            handoffs_per_s=len(handoffs_s) / (until - since),
            most=max(numbers),
            fewest=min(numbers),
            longest_wait_s=max(stay.entered - stay.asked for stay in everything),
            out_of_turn=sum(out for _, out in counted) / max(1, len(counted)),
            overlaps=_overlaps(everything),
        )


@dataclass(frozen=True, slots=True)
class Idle:
    """What Redis has to do in each second while all wait."""

    requests: float  # reads from clients' sockets
    commands: float  # those inside of scripts included
    cpu_ms: float

    @classmethod
    def of(cls, before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> Self:
        """Take what Redis' INFO said before and after. The second question is not counted."""

        def grown(name: str) -> float:
            return float(after[name] - before[name])

        return cls(
            requests=(grown("total_reads_processed") - 1) / seconds,
            commands=(grown("total_commands_processed") - 1) / seconds,
            cpu_ms=(grown("used_cpu_user") + grown("used_cpu_sys")) * 1000 / seconds,
        )


@dataclass(slots=True)
class Series:
    """What was measured of one lock."""

    one_key: list[Alone] = field(default_factory=list)
    many_keys: list[Alone] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    again: list[Again] = field(default_factory=list)
    idle: Idle | None = None

    @property
    def overlaps(self) -> int:
        """How often two were inside at once, whatever was measured."""
        return self.lines.overlaps + sum(one.overlaps for one in self.again)


def _out_of_turn(ordered: Sequence[Stay]) -> list[bool]:
    """Tell of each stay whether somebody who stood before it came in later. Given by entry.

    Who stood before is told by the tickets' numbers, or where there are none by when each began to ask.
    """
    told: list[bool] = []
    earliest = float("inf")  # of those that came in later
    for stay in reversed(ordered):
        place, grace = (stay.asked, RACE_S) if stay.number is None else (stay.number, 0)
        told.append(earliest < place - grace)
        earliest = min(earliest, place)
    return told[::-1]


def _overlaps(ordered: Sequence[Stay]) -> int:
    """Count the stays that began before an earlier one had ended. Given by entry."""
    count, left = 0, float("-inf")
    for stay in ordered:
        count += stay.entered < left
        left = max(left, stay.left)
    return count
