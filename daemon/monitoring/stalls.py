"""Detects stalls of the pipeline: work waits in this daemon, but makes no progress. A responsive event loop proves little.

A stall means that messages wait here and store and broker answer, but no step was completed for too long. Waiting for an
unavailable store is no stall: the reason is known, and a restarted process would wait as well.

No I/O and no clock: times are passed in, in seconds of a monotonic clock.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["LOOK_S", "STALL_S", "ProgressCounter", "Stall", "StallDetector"]

STALL_S = 30.0
"""How long a part with work may complete no step. The slowest step is a store call: see `LockStore.patience_s`."""

LOOK_S = 1.0
"""The interval of checks. After a longer gap the process itself was suspended, so the gap is not counted."""


class ProgressCounter:
    """The progress of one part of the pipeline. Counting a step is all it costs."""

    __slots__ = ("name", "steps", "waiting")

    def __init__(self, name: str, waiting: Callable[[], int]) -> None:
        """`name` is the part's name; `waiting` returns how much work waits there."""
        self.name = name
        self.steps = 0
        self.waiting = waiting

    def step(self) -> None:
        """Count a step, or other progress."""
        self.steps += 1


class Stall(NamedTuple):
    """A part that has work but makes no progress."""

    name: str
    for_s: float
    waiting: int


class StallDetector:
    """Watches the progress counters of one session."""

    def __init__(self, limit_s: float = STALL_S) -> None:
        """`limit_s` is the longest time, in seconds, without a step."""
        self._limit_s = limit_s
        self._beats: Sequence[ProgressCounter] = ()
        self._seen: dict[str, int] = {}
        self._idle_s: dict[str, float] = {}
        self._looked_at: float | None = None

    def watch(self, beats: Sequence[ProgressCounter]) -> None:
        """Watch these counters instead: those of a new session, or none after its end."""
        self._beats = beats
        self._seen.clear()
        self._idle_s.clear()

    def look(self, now: float, *, excused: bool) -> list[Stall]:
        """Return what has stalled. `excused`: there is a known reason for making no progress."""
        elapsed_s = 0.0 if self._looked_at is None else min(now - self._looked_at, 2 * LOOK_S)
        self._looked_at = now
        return [
            Stall(progress.name, self._idle_s[progress.name], progress.waiting())
            for progress in self._beats
            if self._is_stalled(progress, elapsed_s, excused=excused)
        ]

    def _is_stalled(self, progress: ProgressCounter, elapsed_s: float, *, excused: bool) -> bool:
        goes_on = progress.steps != self._seen.get(progress.name)
        self._seen[progress.name] = progress.steps
        if goes_on or excused or not progress.waiting():
            self._idle_s[progress.name] = 0.0
            return False
        self._idle_s[progress.name] += elapsed_s
        return self._idle_s[progress.name] > self._limit_s
