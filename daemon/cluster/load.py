"""How busy a partition keeps this daemon. RabbitMQ does not tell a consumer that it is the active one: deliveries do.

No input or output, no clock: moments are given, in seconds on a clock that only goes forward.
"""

import math

__all__ = ["BUSY_RATE", "IDLE_RATE", "PartitionLoad"]

BUSY_RATE = 1.0
"""Messages per second from which a partition counts as busy. Those below cost nothing worth sharing."""

IDLE_RATE = 0.2
"""Messages per second below which a busy one counts no longer; lower, so that it does not change all the time."""

_MEMORY_S = 3.0  # the rate is an average over about this time


class PartitionLoad:
    """What comes from one queue, as long as this daemon consumes it on one channel."""

    def __init__(self, now: float) -> None:
        self.rate = 0.0
        self.is_active = False  # whether anything came: then RabbitMQ has chosen this daemon
        self.busy_since: float | None = None
        self._seen = 0
        self._looked_at = now

    def look(self, delivered: int, now: float) -> None:
        """Take note of how many messages have come by now, since the channel was opened."""
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
