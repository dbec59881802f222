"""When a lease ends, told without trusting any wall clock. No clock is read here: every moment is given.

The store's clock and this process's monotonic clock have nothing in common but their pace. An answer to something that was
sent at the monotonic moment `sent` carries the store's time `at`, and the store can only have read it later than that. So
the store's clock showed `at` at `sent` or after, and a lease that ends at the store's `expires_at` does not end before
`sent + (expires_at - at)`. Each answer gives such a bound, and the largest of them counts.
"""

__all__ = ["CLOCK_DRIFT", "MARGIN_MOST_S", "MARGIN_SHARE", "LeaseClock", "margin_s"]

CLOCK_DRIFT = 1e-4
"""How much faster the store's clock may run than ours: two crystals of 50 ppm each. Takes off what a bound gains by age."""

MARGIN_MOST_S = 0.25
"""The body is cancelled this long before the bound: room for a busy event loop, and for a write that is on its way."""

MARGIN_SHARE = 0.1
"""Of a short lease the margin is this share instead, so that most of it stays usable."""


def margin_s(lease_s: float) -> float:
    """Give how many seconds before its end a lease counts as lost."""
    return min(MARGIN_MOST_S, lease_s * MARGIN_SHARE)


class LeaseClock:
    """What is known of the store's clock in terms of ours, for one request."""

    __slots__ = ("_best",)

    def __init__(self) -> None:
        self._best: float | None = None  # the largest `sent - at`, each made comparable by its age

    def sample(self, sent: float, at: float) -> None:
        """Take in that the store's clock showed `at` at the monotonic moment `sent` or later."""
        known = sent * (1 + CLOCK_DRIFT) - at
        if self._best is None or known > self._best:
            self._best = known

    def ends_at(self, expires_at: float, at: float, heard: float) -> float:
        """Give a monotonic moment at which a lease granted at the store's `at` has surely not ended yet.

        `heard` is when that answer came: the lease was granted before, so it cannot last longer from then on. This holds
        the result down when the store's clock was set forward between two answers.
        """
        latest = heard + (expires_at - at)
        if self._best is None:
            return heard
        return min(latest, self._best + expires_at - heard * CLOCK_DRIFT)
