"""Answers that are kept for a while, so that many who ask cost no more than one."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Answer", "Cache", "Pace"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the same question is asked. Times in seconds."""

    least_s: float
    """An answer is kept for so long at least."""
    times: int
    """And for so many times what it took: asking takes that part of the time at the most."""
    most_s: float = float("inf")
    failure_s: float = 0.0
    """A failure is kept for so long, and for as many times what it took; 0: not at all."""

    def keep_s(self, took_s: float) -> float:
        """Return how long to keep an answer that took this long."""
        return min(self.most_s, max(self.least_s, took_s * self.times))

    def keep_failure_s(self, took_s: float) -> float:
        """Return the same for a failure."""
        return max(self.failure_s, took_s * self.times) if self.failure_s else 0.0


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer, and when it came."""

    value: T
    at: float


class Cache(Generic[T]):
    """Answers by their question. Whoever asks what is being asked already waits for that answer."""

    def __init__(self, most: int, at_once: int, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep `most` answers, and ask `at_once` different questions at a time."""
        self._most = most
        self._gate = asyncio.Semaphore(at_once)
        self._pace = pace
        self._clock = clock
        self._kept: OrderedDict[Hashable, Answer[T]] = OrderedDict()
        self._until: dict[Hashable, tuple[float, Exception | None]] = {}
        self._asking: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the cached answer, or fetch one. What `ask` raises is raised in all waiting calls."""
        until, failure = self._until.get(question, (0.0, None))
        if self._clock() < until:
            if failure is not None:
                raise failure
            return self._kept[question].value
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.create_task(self._ask(question, ask))
            task.add_done_callback(lambda done: self._done(question, done))
        # One who goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def newest(self, question: Hashable) -> Answer[T] | None:
        """Return the last answer, however old, or None."""
        return self._kept.get(question)

    def _done(self, question: Hashable, task: asyncio.Task[T]) -> None:
        del self._asking[question]
        if not task.cancelled():
            task.exception()  # looked at even when all who waited for it are gone

    async def _ask(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        async with self._gate:
            started = self._clock()
            try:
                value = await ask()
            except Exception as error:
                ended = self._clock()
                if keep_s := self._pace.keep_failure_s(ended - started):
                    self._note(question, ended + keep_s, error)
                raise
            ended = self._clock()
        self._kept.pop(question, None)
        self._kept[question] = Answer(value, ended)
        self._note(question, ended + self._pace.keep_s(ended - started), None)
        while len(self._kept) > self._most:
            oldest, _ = self._kept.popitem(last=False)
            del self._until[oldest]
        return value

    def _note(self, question: Hashable, until: float, failure: Exception | None) -> None:
        self._until.pop(question, None)
        self._until[question] = until, failure
        while len(self._until) > 2 * self._most:  # of questions that only ever failed
            forgotten = next(iter(self._until))
            del self._until[forgotten]
            self._kept.pop(forgotten, None)
