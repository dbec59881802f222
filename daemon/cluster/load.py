"""Measures how busy a partition is. RabbitMQ does not tell a consumer that it is the active one, but deliveries do.

No I/O and no clock: times are passed in, in seconds of a monotonic clock.
"""

import math

__all__ = ["BUSY_RATE", "IDLE_RATE", "PartitionLoad"]

BUSY_RATE = 1.0
"""Messages per second from which a partition counts as busy. Below that, sharing is not worthwhile."""

IDLE_RATE = 0.2
"""Messages per second below which a busy partition is no longer busy; lower, for hysteresis."""

_MEMORY_S = 3.0  # the averaging time of the rate


class PartitionLoad:
    """The load of one queue while this daemon consumes it on one channel."""

    def __init__(self, now: float) -> None:
        self.rate = 0.0
        self.is_active = False  # whether a message arrived, so that RabbitMQ has chosen this daemon
        self.busy_since: float | None = None
        self._seen = 0
        self._looked_at = now

    def look(self, delivered: int, now: float) -> None:
        """Record how many messages have arrived since the channel was opened."""
        elapsed_s = now - self._looked_at
        if elapsed_s <= 0:
            return
        came = (delivered - self._seen) / elapsed_s
        self._seen, self._looked_at = delivered, now
        self.rate += (came - self.rate) * -math.expm1(-elapsed_s / _MEMORY_S)
        self.is_active = self.is_active or delivered > 0
        if self.rate >= BUSY_RATE and self.busy_since is None:
            self.busy_since = now
        elif self.rate < IDLE_RATE:
            self.busy_since = None
