"""What keeps this daemon from serving, and since when. No input or output; the clock is given."""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["Condition", "Health", "Reason"]

Condition = Literal[
    "store_away",
    "broker_away",
    "broker_blocked",
    "not_consuming",
    "topology_missing",
    "pipeline_stalled",
    "draining",
]


class Reason(NamedTuple):
    """One hindrance, for how long it has been there, and what was said of it last."""

    name: Condition
    for_s: float
    detail: str


class Health:
    """The hindrances of one process. It begins with those that a start has to overcome."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a clock in seconds that only goes forward."""
        self._clock = clock
        self._found: dict[Condition, tuple[float, str]] = {}
        self.set("store_away", "has not answered yet")
        self.set("broker_away", "not connected yet")
        self.set("not_consuming", "no consumer is registered yet")

    def set(self, name: Condition, detail: str) -> None:
        """Take note of a hindrance. One that is there already keeps its beginning, and takes the newer detail."""
        since, _ = self._found.get(name, (self._clock(), ""))
        self._found[name] = (since, detail)

    def clear(self, *names: Condition) -> None:
        """Take note that these are over."""
        for name in names:
            self._found.pop(name, None)

    def conditions(self, *names: Condition) -> bool:
        """Tell whether any of these is there now."""
        return any(name in self._found for name in names)

    @property
    def is_ready(self) -> bool:
        """Whether nothing keeps this daemon from serving."""
        return not self._found

    @property
    def is_waiting(self) -> bool:
        """Whether store or broker keep this daemon from going on: nothing that a new process could change."""
        return self.conditions("store_away", "broker_away", "broker_blocked", "not_consuming")

    def reasons(self) -> list[Reason]:
        """Give what is there now, the oldest first."""
        now = self._clock()
        return [Reason(name, now - since, detail) for name, (since, detail) in self._found.items()]
