"""What the stays of one lock amount to. No clock and no server is asked here."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import Self

from benchmarks.contest import Stay

__all__ = ["RACE_S", "Again", "Lines", "Window", "cycles_per_s", "most_overtaken", "out_of_turn", "overlaps"]

RACE_S = 0.005  # who asks so little earlier may well reach the server later; tickets need no such grace


@dataclass(frozen=True, slots=True)
class Window:
    """What is counted: between the moment when all have begun and the one from which nobody comes again."""

    since: float
    until: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.until - self.since

    def has(self, stay: Stay) -> bool:
        """Tell whether a stay is counted."""
        return self.since <= stay.entered < self.until


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
        self.out_of_turn += sum(out_of_turn(ordered))
        self.overlaps += overlaps(ordered)


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
    def of(cls, stays: Sequence[Stay], waiters: int, window: Window, race_s: float = RACE_S) -> Self:
        """Count what is in the window; `race_s` as for `out_of_turn`."""
        everything = sorted(stays, key=attrgetter("entered"))
        passed = zip(everything, out_of_turn(everything, race_s), strict=True)
        counted = [(stay, out) for stay, out in passed if window.has(stay)]
        ordered = [stay for stay, _ in counted]
        handoffs_s = [then.entered - one.left for one, then in pairwise(ordered) if then.waiter != one.waiter]
        entries = Counter(stay.waiter for stay in ordered)
        numbers = [entries[waiter] for waiter in range(waiters)]
        return cls(
            entries_per_s=len(ordered) / window.seconds,
            handoffs_s=handoffs_s,
            handoffs_per_s=len(handoffs_s) / window.seconds,
            most=max(numbers),
            fewest=min(numbers),
            longest_wait_s=max(stay.entered - stay.asked for stay in everything),
            out_of_turn=sum(out for _, out in counted) / max(1, len(counted)),
            overlaps=overlaps(everything),
        )


def cycles_per_s(stays: Sequence[Stay], window: Window) -> float:
    """Count the entries in the window, whatever their keys."""
    return sum(window.has(stay) for stay in stays) / window.seconds


def out_of_turn(ordered: Sequence[Stay], race_s: float = RACE_S) -> list[bool]:
    """Tell of each stay whether somebody who stood before it came in later. Given by entry.

    Who stood before is told by the tickets' numbers, or where there are none by having asked more than `race_s` earlier.
    """
    told: list[bool] = []
    earliest = float("inf")  # of those that came in later
    for stay in reversed(ordered):
        place, grace = (stay.asked, race_s) if stay.number is None else (stay.number, 0)
        told.append(earliest < place - grace)
        earliest = min(earliest, place)
    return told[::-1]


def most_overtaken(ordered: Sequence[Stay], race_s: float = RACE_S) -> int:
    """Count who came in before the unluckiest waiter though they had asked more than `race_s` later. Given by entry."""
    entries = [stay.entered for stay in ordered]
    return max(
        sum(other.asked > stay.asked + race_s for other in ordered[bisect_left(entries, stay.asked) : place])
        for place, stay in enumerate(ordered)
    )


def overlaps(ordered: Sequence[Stay]) -> int:
    """Count the stays that began before an earlier one had ended. Given by entry."""
    count, left = 0, float("-inf")
    for stay in ordered:
        count += stay.entered < left
        left = max(left, stay.left)
    return count
