"""Delays between retries: increasing up to a limit, with jitter. No I/O."""

from collections.abc import Callable
from random import SystemRandom

__all__ = ["Backoff"]

_random = SystemRandom()


class Backoff:
    """Delays in seconds that double from `first_s` up to `most_s`, each shortened at random by up to half."""

    def __init__(self, first_s: float, most_s: float, random: Callable[[], float] = _random.random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._random = random
        self._step_s = first_s

    def next_s(self) -> float:
        """Return the next delay, and double the one after it."""
        step_s = self._step_s
        self._step_s = min(self._most_s, step_s * 2)
        return step_s * (1 - self._random() / 2)

    def reset(self) -> None:
        """Start again with the shortest delay, after a success."""
        self._step_s = self._first_s
