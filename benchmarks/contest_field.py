"""The processes that compete for a lock, and the contests that they are sent into."""

import asyncio
import random
from collections.abc import Sequence

from benchmarks.contest import Part, Stay, now
from benchmarks.contest_figures import Window, cycles_per_s
from benchmarks.contest_worker import Worker

__all__ = ["LEAD_S", "SETTLE_S", "SPREAD_S", "Contests", "in_line_s", "lead_s"]

LEAD_S = 0.03  # from the order until the processes have it, if the parts are few
TAKING_S = 0.0002  # more of each part, if they are many: it is read, and a task or a thread starts
SPREAD_S = 0.1  # waiters begin to ask at random within so long: the polling interval of redis-py's lock
SETTLE_S = 0.03  # from the last asking until the line is complete
ASKING_S = 0.001  # of each waiter: what a process needs to ask, and a server to take it in, at a bad moment
FEW = 20  # waiters, for whom that takes no time worth mentioning
TRIES = 10  # of a line, when the machine is busy with something else


def lead_s(parts: int) -> float:
    """Give how long it takes until the processes are ready to play so many parts."""
    return LEAD_S + (TAKING_S * parts if parts > FEW else 0.0)


def in_line_s(waiters: int, spread_s: float = SPREAD_S) -> float:
    """Give how long it takes until so many surely stand in line."""
    return spread_s + SETTLE_S + (ASKING_S * waiters if waiters > FEW else 0.0)


class Contests:
    """What the waiters of one run do together; each time on keys that were never used before.

    `hold_s` is what a holder does inside. Those who come again and again begin at random within `spread_s`. `polls_s` is the
    interval of a lock with a line that polls: there, waiters who come in shortly after each other look shortly after each
    other for ever, in the order of the line, and would be far faster than chance has it. So in lines they hold for random
    parts of it.
    """

    def __init__(
        self, processes: Sequence[Worker], *, hold_s: float = 0.0, spread_s: float = SPREAD_S, polls_s: float = 0.0
    ) -> None:
        self._processes = processes
        self._polls_s = polls_s
        self._hold_s = hold_s
        self._spread_s = spread_s
        self._random = random.Random(1)
        self._keys = 0

    def key(self, lock: str) -> str:
        """Give a new key."""
        self._keys += 1
        return f"{lock}-{self._keys}"

    async def line(self, lock: str, waiters: int, more_s: float = 0.0) -> list[Stay]:
        """Let all wait behind a holder, for `more_s` seconds longer than it takes to form, and then come in, each once."""
        hold_s = in_line_s(waiters) + more_s + self._random.uniform(0, self._polls_s)
        for _ in range(TRIES):
            key = self.key(lock)
            begin = now() + lead_s(waiters) + LEAD_S
            first = Part(waiters, [key], begin - LEAD_S, LEAD_S + hold_s, 0.0)
            others = [
                part._replace(hold_s=part.hold_s + self._random.uniform(0, self._polls_s))
                for part in self._waiters(key, waiters, begin, 0.0, SPREAD_S)
            ]
            stays = await self.compete(lock, [*others, first])
            [holder] = (stay for stay in stays if stay.waiter == waiters)
            asked = [stay.asked for stay in stays if stay is not holder]
            if holder.entered < min(asked) and max(asked) < holder.left:
                return stays
        raise RuntimeError(f"{TRIES} lines did not form in time: this machine is too busy for a measurement")

    async def again(self, lock: str, waiters: int, seconds: float) -> tuple[list[Stay], Window]:
        """Let all come again and again."""
        begin = now() + lead_s(waiters)
        since = begin + in_line_s(waiters, self._spread_s)
        window = Window(since, since + seconds)
        return await self.compete(
            lock, self._waiters(self.key(lock), waiters, begin, window.until, self._spread_s)
        ), window

    async def spread(self, lock: str, keys: int, seconds: float) -> float:
        """Let a worker come again and again on each of the keys, with nobody to wait for; give cycles per second."""
        begin = now() + lead_s(keys)
        since = begin + in_line_s(keys)
        window = Window(since, since + seconds)
        parts = [Part(worker, [self.key(lock)], begin, 0.0, window.until) for worker in range(keys)]
        return cycles_per_s(await self.compete(lock, parts), window)

    async def meet(self, lock: str, waiters: int) -> None:
        """Let all come once, so that they are connected and caches are warm."""
        await self.compete(lock, self._waiters(self.key(lock), waiters, now() + lead_s(waiters), 0.0, SPREAD_S))

    async def compete(self, lock: str, parts: Sequence[Part]) -> list[Stay]:
        """Have the parts played, shared out among the processes."""
        count = len(self._processes)
        shares = [(process, list(parts[place::count])) for place, process in enumerate(self._processes)]
        played = await asyncio.gather(*(process.play(lock, share) for process, share in shares))
        return [stay for stays in played for stay in stays]

    def _waiters(self, key: str, waiters: int, begin: float, until: float, spread_s: float) -> list[Part]:
        moments = [begin + self._random.uniform(0, spread_s) for _ in range(waiters)]
        return [Part(waiter, [key], moments[waiter], self._hold_s, until) for waiter in range(waiters)]
