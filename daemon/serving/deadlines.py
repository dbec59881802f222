"""Known deadlines: when to sweep which shard. Only an optimization; the deadlines themselves are in the store."""

import heapq
import time
from collections.abc import Callable

from lockstore.stores.results import Shard

__all__ = ["Deadlines"]

_MARGIN_S = 0.002  # added to a deadline, so that the store's clock, in whole milliseconds, has passed it


class Deadlines:
    """When to sweep which shard: the earliest known deadline of each. Its size is bounded by the number of shards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[Shard, float] = {}
        self._heap: list[tuple[float, Shard]] = []

    def set(self, shard: Shard, delay_ms: int) -> bool:
        """Record a deadline this far ahead, and return whether it is the earliest of all."""
        at = self._clock() + delay_ms / 1000 + _MARGIN_S
        if at >= self._at.get(shard, float("inf")):
            return False
        self._at[shard] = at
        heapq.heappush(self._heap, (at, shard))
        return self._heap[0][0] >= at

    def next_in_s(self) -> float | None:
        """Return the time until the next deadline, or None."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None

    def due(self) -> list[Shard]:
        """Remove and return the shards whose deadline has passed."""
        shards: list[Shard] = []
        while self.next_in_s() == 0.0:
            _, shard = heapq.heappop(self._heap)
            del self._at[shard]
            shards.append(shard)
        return shards
