"""The conditions that keep this daemon from serving, and since when. No I/O; the clock is injected."""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["DETAIL_MOST", "Condition", "Health", "NoteName", "Reason"]

Condition = Literal[
    "store_away",
    "broker_away",
    "broker_blocked",
    "not_consuming",
    "topology_missing",
    "pipeline_stalled",
    "draining",
]
NoteName = Literal["topology_unwatched", "partition_isolated"]


DETAIL_MOST = 400
"""Characters of a reason as it is described to others; longer ones are cut."""


class Reason(NamedTuple):
    """A condition or note, how long it has existed, and its latest detail."""

    name: str
    for_s: float
    detail: str


class Health:
    """The conditions of one process. It starts with those that startup has to resolve."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds and is monotonic."""
        self._clock = clock
        self._found: dict[Condition, tuple[float, str]] = {}
        self._notes: dict[NoteName, tuple[float, str]] = {}
        self.set("store_away", "has not answered yet")
        self.set("broker_away", "not connected yet")
        self.set("not_consuming", "no consumer is registered yet")

    def set(self, name: Condition, detail: str) -> None:
        """Set a condition. An existing one keeps its start time and takes the new detail."""
        since, _ = self._found.get(name, (self._clock(), ""))
        self._found[name] = (since, detail)

    def clear(self, *names: Condition) -> None:
        """Clear these conditions."""
        for name in names:
            self._found.pop(name, None)

    def note(self, name: NoteName, detail: str) -> None:
        """Record something that operators should know although it does not prevent serving."""
        since, _ = self._notes.get(name, (self._clock(), ""))
        self._notes[name] = (since, detail)

    def forget(self, name: NoteName) -> None:
        """Remove such a note."""
        self._notes.pop(name, None)

    def notes(self) -> list[Reason]:
        """Return all notes, the oldest first."""
        now = self._clock()
        return [Reason(name, now - since, detail) for name, (since, detail) in self._notes.items()]

    def conditions(self, *names: Condition) -> bool:
        """Return whether any of these conditions is set."""
        return any(name in self._found for name in names)

    @property
    def is_ready(self) -> bool:
        """Whether no condition keeps this daemon from serving."""
        return not self._found

    @property
    def is_waiting(self) -> bool:
        """Whether the daemon waits for the store or broker, which a restart would not change."""
        return self.conditions("store_away", "broker_away", "broker_blocked", "not_consuming")

    def reasons(self) -> list[Reason]:
        """Return the current conditions, oldest first."""
        now = self._clock()
        return [Reason(name, now - since, detail) for name, (since, detail) in self._found.items()]

    def describe(self) -> list[str]:
        """Describe why this daemon is not ready. Stopping is not a fault."""
        return [
            f"{name.replace('_', ' ')}: {detail}"[:DETAIL_MOST]
            for name, (_, detail) in self._found.items()
            if name != "draining"
        ]
