"""The line in front of a connection that is not there yet. Pure asyncio: it knows nothing of the broker."""

import asyncio
import heapq
from itertools import count

__all__ = ["WaitingLine"]

_Waiter = tuple[float, int, asyncio.Future[None]]  # place, arrival, and what wakes it


class WaitingLine:
    """Lets those who wait go on one after the other, the lowest place first; equal ones as they came.

    While anybody is left in it, who comes must line up too: a task that is woken runs only after those that were ready before
    it, so that a call which had just begun would overtake all that had waited.
    """

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []  # a heap
        self._arrivals = count()
        self._is_open = False

    @property
    def is_taken(self) -> bool:
        """Whether a task is waiting."""
        return bool(self._waiters)

    def open(self) -> None:
        """Wake the waiting tasks, in order."""
        self._is_open = True
        self._wake_first()

    def close(self) -> None:
        """Hold those in line from now on; one that was woken already still goes on."""
        self._is_open = False

    async def wait(self, place: float) -> None:
        """Return when the line is open and nobody with a lower place is in it."""
        waiter = (place, next(self._arrivals), asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiters, waiter)
        self._wake_first()
        try:
            await waiter[2]
        finally:
            self._remove(waiter)
            self._wake_first()

    def _wake_first(self) -> None:
        if self._is_open and self._waiters:
            _, _, woken = self._waiters[0]
            if not woken.done():
                woken.set_result(None)

    def _remove(self, waiter: _Waiter) -> None:
        if self._waiters[0] is waiter:
            heapq.heappop(self._waiters)
        else:  # cancelled, or a task with a lower place arrived after it was woken
            self._waiters.remove(waiter)
            heapq.heapify(self._waiters)
