"""What a contest for a lock is made of: the parts that waiters play, and the stays that come of playing them.

A lock is here a function from a key to a context that is held; what happens inside and around it is the same for all.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

__all__ = [
    "LEASE_S",
    "AsyncHold",
    "Part",
    "Places",
    "Stay",
    "ThreadHold",
    "now",
    "play_in_tasks",
    "play_in_threads",
]

LEASE_S = 600  # of every lock that has leases: none ends within a run

AsyncHold = Callable[[str], AbstractAsyncContextManager[int | None]]  # gives the ticket's number, where there are any
ThreadHold = Callable[[str], AbstractContextManager[object]]
Places = Mapping[str, Any]  # where the servers are, by their names

now = time.monotonic  # CLOCK_MONOTONIC: all processes of one machine read the same clock


class Part(NamedTuple):
    """What one waiter does: it asks, holds, gives back and asks again, until a moment; at least once."""

    waiter: int
    keys: Sequence[str]  # one after the other, over and over
    ask_at: float
    hold_s: float
    until: float


class Stay(NamedTuple):
    """One holding, in seconds of the machine's monotonic clock; `left` is taken just before the release begins."""

    waiter: int
    asked: float
    entered: float
    left: float
    number: int | None  # the ticket's, where the lock has tickets


async def play_in_tasks(hold: AsyncHold, parts: Sequence[Part]) -> list[Stay]:
    """Play these parts, each as a task."""
    stays: list[Stay] = []

    async def take(part: Part) -> None:
        await asyncio.sleep(part.ask_at - now())
        for key in cycle(part.keys):
            asked = now()
            async with hold(key) as number:
                entered = now()
                if part.hold_s:
                    await asyncio.sleep(part.hold_s)
                left = now()
            stays.append(Stay(part.waiter, asked, entered, left, number))
            if now() >= part.until:
                return

    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(take(part))
    return stays


def play_in_threads(hold: ThreadHold, parts: Sequence[Part]) -> list[Stay]:
    """Play these parts, each in a thread."""
    with ThreadPoolExecutor(len(parts)) as pool:
        return [stay for stays in pool.map(partial(_take, hold), parts) for stay in stays]


def _take(hold: ThreadHold, part: Part) -> list[Stay]:
    stays: list[Stay] = []
    time.sleep(max(0.0, part.ask_at - now()))
    for key in cycle(part.keys):
        asked = now()
        with hold(key):
            entered = now()
            if part.hold_s:
                time.sleep(part.hold_s)
            left = now()
        stays.append(Stay(part.waiter, asked, entered, left, None))
        if now() >= part.until:
            break
    return stays
