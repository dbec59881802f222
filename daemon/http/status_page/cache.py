"""Answers that are kept for a moment, so that many who look cost no more than one."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["KEPT_S", "Cache"]

KEPT_S = 1.0
"""How long an answer is kept at least."""

_COSTLY = 10  # an answer is kept for so many times what it took: looking takes a tenth of the time at the most
_KEPT_MOST_S = 30.0

T = TypeVar("T")


class Cache(Generic[T]):
    """Answers by their question. Who asks what is being asked already waits for that answer."""

    def __init__(self, most: int, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep `most` answers, and ask `at_once` different questions at a time."""
        self._most = most
        self._gate = asyncio.Semaphore(at_once)
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._asking: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Give the answer kept, or ask for one. What `ask` raises is raised to all who wait, and not kept."""
        until, answer = self._kept.get(question, (0.0, None))
        if answer is not None and self._clock() < until:
            return answer
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.create_task(self._ask(question, ask))
            task.add_done_callback(lambda done: self._done(question, done))
        # One who goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def _done(self, question: Hashable, task: asyncio.Task[T]) -> None:
        del self._asking[question]
        if not task.cancelled():
            task.exception()  # looked at even when all who waited for it are gone

    async def _ask(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        async with self._gate:
            started = self._clock()
            answer = await ask()
            ended = self._clock()
        keep_s = min(_KEPT_MOST_S, max(KEPT_S, (ended - started) * _COSTLY))
        self._kept.pop(question, None)
        self._kept[question] = ended + keep_s, answer
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return answer
