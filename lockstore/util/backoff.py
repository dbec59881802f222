"""How long to pause before trying again: ever longer up to a limit, and never in step with others. No I/O."""

from collections.abc import Callable
from random import SystemRandom

__all__ = ["Backoff"]

_random = SystemRandom()


class Backoff:
    """Pauses in seconds that double from `first_s` up to `most_s`, each shortened by up to a half at random."""

    def __init__(self, first_s: float, most_s: float, random: Callable[[], float] = _random.random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._random = random
        self._step_s = first_s

    def next_s(self) -> float:
        """Give the next pause, and make the one after it longer."""
        step_s = self._step_s
        self._step_s = min(self._most_s, step_s * 2)
        return step_s * (1 - self._random() / 2)

    def reset(self) -> None:
        """Begin with short pauses again: it worked."""
        self._step_s = self._first_s
