"""A histogram as Prometheus has it: how many observations were at most so large. No more than numbers in a list."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = ["Histogram"]


class Histogram:
    """Counts observations by size."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take the upper bounds of the buckets, rising; one more takes what is larger than all of them."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count one observation, or several that are equal."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def add_all(self, values: Iterable[float]) -> None:
        """Count several observations."""
        for value in values:
            self._counts[bisect_left(self._bounds, value)] += 1
            self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Give each bound, as Prometheus writes it, with the number of observations up to it."""
        bounds = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
