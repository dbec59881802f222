"""The sweeper's work, as the pipelines hand it over: when to sweep which shard, and which tickets to withdraw.

Known deadlines are only an optimization; the deadlines themselves are in the store.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable, Sequence

from daemon.serving.pending_publish import UnroutableGrant
from lockstore.core.events import Event, Granted, Queued, Renewed
from lockstore.stores.results import Notice, Shard

__all__ = ["Deadlines", "Withdrawals"]

_MARGIN_S = 0.002  # added to a deadline, so that the store's clock, in whole milliseconds, has passed it


class Deadlines:
    """When to sweep which shard: the earliest known deadline of each. Its size is bounded by the number of shards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.wakeup = asyncio.Event()
        """Set when the sweeper has something to do before the next deadline it knows."""
        self._at: dict[Shard, float] = {}
        self._heap: list[tuple[float, Shard]] = []

    def watch(self, notices: Iterable[Notice], shard_of: Callable[[str], Shard]) -> None:
        """Record the deadlines that these events set. `shard_of` returns the shard of a conversation."""
        for notice in notices:
            delay_ms = _delay_ms(notice.event)
            if delay_ms is not None:
                self.set(shard_of(notice.event.conversation_id), delay_ms)

    def set(self, shard: Shard, delay_ms: int) -> None:
        """Record a deadline this far ahead; if it is the earliest of all, the sweeper wakes up."""
        at = self._clock() + delay_ms / 1000 + _MARGIN_S
        if at >= self._at.get(shard, float("inf")):
            return
        self._at[shard] = at
        heapq.heappush(self._heap, (at, shard))
        if self._heap[0][0] >= at:
            self.wakeup.set()

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


class Withdrawals:
    """Tickets of undeliverable grants, until the sweeper withdraws them."""

    def __init__(self, wakeup: asyncio.Event) -> None:
        """`wakeup` is set when there are some."""
        self._wakeup = wakeup
        self._grants: list[UnroutableGrant] = []

    def add(self, grants: Sequence[UnroutableGrant]) -> None:
        """Have these tickets withdrawn immediately."""
        if grants:
            self._grants += grants
            self._wakeup.set()

    def take(self) -> list[UnroutableGrant]:
        """Remove and return all of them."""
        grants, self._grants = self._grants, []
        return grants


def _delay_ms(event: Event) -> int | None:
    match event:
        case Queued():
            return event.wait_until_ms - event.at_ms
        case Granted() | Renewed():
            return event.expires_at_ms - event.at_ms
        case _:
            return None
