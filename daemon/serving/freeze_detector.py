"""Whether this process was away: stopped, suspended or starved, for longer than what it holds in memory is its own.

While a daemon is away, another one serves its messages. What this one took before, it still has in memory when it wakes
up. Applying that late is harmless as long as the requests are remembered; later it would give a request that is over a
second ticket. So whoever is about to apply something asks here first.
"""

import asyncio
import time
from collections.abc import Callable

from lockstore.errors import BrokerLostError

__all__ = ["FreezeDetector", "seconds_since_boot"]

_TICKS = 4  # within the longest time away that passes: so a process that is not away never seems so


def seconds_since_boot() -> float:
    """Give the seconds on a clock that only goes forward, and also counts while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class FreezeDetector:
    """Notices a gap in this process's life, whichever callback runs first after it."""

    def __init__(self, most_s: float, clock: Callable[[], float] = seconds_since_boot) -> None:
        """Take the longest gap, in seconds, that may pass."""
        self._most_s = most_s
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Count from now: nothing is in memory that could be another's."""
        self._seen_at = self._clock()
        self._away_s: float | None = None

    def check(self) -> None:
        """Raise BrokerLostError if there was a gap since `begin`: the connection, and all that came on it, is to be let go."""
        now = self._clock()
        gap_s, self._seen_at = now - self._seen_at, now
        if self._away_s is None and gap_s > self._most_s:
            self._away_s = gap_s
        if self._away_s is not None:
            raise BrokerLostError(
                f"this process was away for {self._away_s:.1f} s; what it holds may be another's by now"
            )

    async def run(self) -> None:
        """Look regularly, so that only a real absence is a gap. Ends with BrokerLostError."""
        while True:
            self.check()
            await asyncio.sleep(self._most_s / _TICKS)
