"""Computes when a lease ends, without trusting any wall clock. No clock is read here: all times are passed in.

The store's clock and this process's monotonic clock share only their rate. The answer to a message sent at the monotonic
time `sent` contains the store's time `at`, which the store can only have read later. So the store's clock showed `at` at
`sent` or later, and a lease that ends at the store's `expires_at` does not end before `sent + (expires_at - at)`. Each
answer yields such a bound, and the largest one is used.
"""

__all__ = ["CLOCK_DRIFT", "MARGIN_MOST_S", "MARGIN_SHARE", "LeaseClock", "margin_s"]

CLOCK_DRIFT = 1e-4
"""How much faster the store's clock may run than ours: two crystals of 50 ppm each. Reduces a bound as it ages."""

MARGIN_MOST_S = 0.25
"""The body is cancelled this long before the bound, to allow for a busy event loop and for writes in flight."""

MARGIN_SHARE = 0.1
"""The margin as a share of a short lease, so that most of the lease remains usable."""


def margin_s(lease_s: float) -> float:
    """Return how many seconds before its end a lease is considered lost."""
    return min(MARGIN_MOST_S, lease_s * MARGIN_SHARE)


class LeaseClock:
    """What is known about the store's clock relative to ours, for one request."""

    __slots__ = ("_best",)

    def __init__(self) -> None:
        self._best: float | None = None  # the largest `sent - at`, corrected for drift

    def sample(self, sent: float, at: float) -> None:
        """Record that the store's clock showed `at` at the monotonic time `sent` or later."""
        known = sent * (1 + CLOCK_DRIFT) - at
        if self._best is None or known > self._best:
            self._best = known

    def ends_at(self, expires_at: float, at: float, heard: float) -> float:
        """Return a monotonic time at which a lease granted at the store's `at` has certainly not ended.

        `heard` is when the answer arrived: the grant happened before, so the lease cannot last longer from then on. This
        limits the result if the store's clock was set forward between two answers.
        """
        latest = heard + (expires_at - at)
        if self._best is None:
            return heard
        return min(latest, self._best + expires_at - heard * CLOCK_DRIFT)
