"""Detects a freeze (stopped, suspended or starved process) long enough for messages to have been redelivered elsewhere.

During a freeze another daemon serves this one's messages, which are still in its memory afterwards. Applying them late is
harmless as long as finished requests are retained; later, a finished request would get a second ticket. So this is checked
before anything is applied.
"""

import asyncio
import time
from collections.abc import Callable

from lockstore.errors import BrokerLostError

__all__ = ["FreezeDetector", "seconds_since_boot"]

_TICKS = 4  # per longest permitted freeze, so that a process that is not frozen never seems so


def seconds_since_boot() -> float:
    """Return the seconds of a monotonic clock that includes the time while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class FreezeDetector:
    """Detects a gap in this process's execution, whichever callback runs first after it."""

    def __init__(self, most_s: float, clock: Callable[[], float] = seconds_since_boot) -> None:
        """`most_s` is the longest permitted gap, in seconds."""
        self._most_s = most_s
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Start again: nothing that was delivered before is in memory."""
        self._seen_at = self._clock()
        self._away_s: float | None = None

    def check(self) -> None:
        """Raise BrokerLostError if there was a gap since `begin`: the connection and its deliveries must be dropped."""
        now = self._clock()
        gap_s, self._seen_at = now - self._seen_at, now
        if self._away_s is None and gap_s > self._most_s:
            self._away_s = gap_s
        if self._away_s is not None:
            raise BrokerLostError(
                f"this process was frozen for {self._away_s:.1f} s; its messages may have been redelivered elsewhere"
            )

    async def run(self) -> None:
        """Check regularly, so that only a real freeze causes a gap. Ends with BrokerLostError."""
        while True:
            self.check()
            await asyncio.sleep(self._most_s / _TICKS)
