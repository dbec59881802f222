"""A Prometheus histogram: the number of observations up to each bound."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = ["Histogram"]


class Histogram:
    """Counts observations by size."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the increasing upper bounds of the buckets; one more bucket counts larger observations."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count one observation, or several equal ones."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def add_all(self, values: Iterable[float]) -> None:
        """Count several observations."""
        for value in values:
            self._counts[bisect_left(self._bounds, value)] += 1
            self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return each bound, formatted for Prometheus, with the number of observations up to it."""
        bounds = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
