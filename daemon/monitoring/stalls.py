"""The pulse of the pipeline: whether work that waits in this daemon goes on. That the event loop turns says little of it.

A stall is this: messages wait here, store and broker answer, and yet no step was made for too long. Who waits for a store
that is away is alive: the reason is known, and a new process would wait just the same.

No input or output, no clock: moments are given, in seconds on a clock that only goes forward.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["LOOK_S", "STALL_S", "ProgressCounter", "Stall", "StallDetector"]

STALL_S = 30.0
"""How long a part with work may make no step. The slowest step is a store's answer: see `LockStore.patience_s`."""

LOOK_S = 1.0
"""How often to look. Longer gaps are not counted: then it was this process that stood still, and not one part of it."""


class ProgressCounter:
    """The steps of one part of the pipeline. To count one is all that it costs."""

    __slots__ = ("name", "steps", "waiting")

    def __init__(self, name: str, waiting: Callable[[], int]) -> None:
        """Take what the part is called, and what tells how much waits there."""
        self.name = name
        self.steps = 0
        self.waiting = waiting

    def step(self) -> None:
        """Count a step, or any other sign of life."""
        self.steps += 1


class Stall(NamedTuple):
    """A part that has work and makes no step."""

    name: str
    for_s: float
    waiting: int


class StallDetector:
    """Feels the beats of one session."""

    def __init__(self, limit_s: float = STALL_S) -> None:
        """Take the longest time, in seconds, that may pass without a step."""
        self._limit_s = limit_s
        self._beats: Sequence[ProgressCounter] = ()
        self._seen: dict[str, int] = {}
        self._idle_s: dict[str, float] = {}
        self._looked_at: float | None = None

    def watch(self, beats: Sequence[ProgressCounter]) -> None:
        """Feel these from now on, and no others: those of a new session, or none when it has ended."""
        self._beats = beats
        self._seen.clear()
        self._idle_s.clear()

    def look(self, now: float, *, excused: bool) -> list[Stall]:
        """Find what has stalled by now. `excused`: there is a known reason to make no step."""
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
