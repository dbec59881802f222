"""The timeline: what all daemons did in the last minutes, second by second, for display.

It is derived from heartbeats, so it costs the pipeline nothing, and a standby daemon shows the work of the active one. No
I/O and no clock: times are passed in, in seconds of a monotonic clock.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from daemon.monitoring.cumulative import BINS, Counts, quantile_ms

__all__ = ["KEPT_S", "LAG_S", "NAMES", "Step", "Timeline"]

KEPT_S = 600
"""How far the timeline goes back."""

LAG_S = 2
"""The delay of the timeline: by then all daemons have reported on a second."""

_WAITING_HOLDS_S = 15  # the number of waiting tickets is queried every few seconds; it is kept in between

NAMES = ("requests", "grants", "releases", "expiries")
"""What is counted."""


@dataclass(slots=True)
class _Second:
    counts: list[float] = field(default_factory=lambda: [0.0] * len(NAMES))
    hand_offs: list[float] = field(default_factory=lambda: [0.0] * BINS)
    waiting: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Some seconds of the timeline combined. Rates are per second; None: unknown, or nothing to measure."""

    requests: float | None
    grants: float | None
    releases: float | None
    expiries: float | None
    hand_off_p50_ms: float | None
    hand_off_p99_ms: float | None
    waiting: int | None


class Timeline:
    """A ring buffer of seconds."""

    def __init__(self) -> None:
        self._seconds: dict[int, _Second] = {}  # in order: time never goes back
        self._begun_at: float | None = None

    def happened(self, before: Counts, after: Counts, start: float, end: float) -> None:
        """Add what one daemon did between two times, distributed evenly."""
        counts = [getattr(after, name) - getattr(before, name) for name in NAMES]
        hand_offs = [new - old for new, old in zip(after.hand_offs, before.hand_offs, strict=True)]
        if end <= start or min(*counts, *hand_offs) < 0:
            return  # no time has passed, or the counts are from different runs
        if self._begun_at is None:
            self._begun_at = start
        for second, share in _shares(max(start, end - KEPT_S), end):
            at = self._at(second)
            at.counts = [sum_ + count * share for sum_, count in zip(at.counts, counts, strict=True)]
            for number, count in enumerate(hand_offs):
                at.hand_offs[number] += count * share

    def waiting(self, tickets: int, now: float) -> None:
        """Add the number of waiting tickets."""
        self._at(int(now)).waiting = tickets

    def steps(self, step_s: int, now: float) -> list[Step]:
        """Return the timeline, oldest first, in steps of `step_s` seconds, up to `LAG_S` ago."""
        end = int(now) - LAG_S
        waiting: int | None = None
        since = 0
        steps = []
        for first in range(end - KEPT_S, end, step_s):
            step = self._step(first, step_s)
            if step.waiting is not None:
                waiting, since = step.waiting, first
            elif waiting is not None and first - since <= _WAITING_HOLDS_S:
                step = replace(step, waiting=waiting)
            steps.append(step)
        return steps

    def _step(self, first: int, step_s: int) -> Step:
        known = [self._seconds[second] for second in range(first, first + step_s) if second in self._seconds]
        is_told = self._begun_at is not None and first + step_s > self._begun_at
        rates = [
            sum(second.counts[place] for second in known) / step_s if is_told else None for place in range(len(NAMES))
        ]
        hand_offs = [sum(second.hand_offs[number] for second in known) for number in range(BINS)]
        waiting = next((second.waiting for second in reversed(known) if second.waiting is not None), None)
        requests, grants, releases, expiries = rates
        half, nearly_all = quantile_ms(hand_offs, 0.5), quantile_ms(hand_offs, 0.99)
        return Step(requests, grants, releases, expiries, half, nearly_all, waiting)

    def _at(self, second: int) -> _Second:
        found = self._seconds.get(second)
        if found is None:
            found = self._seconds[second] = _Second()
            for old in [kept for kept in self._seconds if kept < second - KEPT_S - LAG_S]:
                del self._seconds[old]
        return found


def _shares(start: float, end: float) -> Iterator[tuple[int, float]]:
    """Return each second between two times, and its share of that time."""
    for second in range(math.floor(start), math.ceil(end)):
        yield second, (min(end, second + 1) - max(start, second)) / (end - start)
