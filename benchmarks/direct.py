"""The lock stores in the bots' own processes, without the daemon, beside two Redis locks that bots use today, in one run.

Each lock is measured with nobody to wait for, in lines of waiters that come once, with waiters that come again at once, and
while all wait and nobody moves. `python -m benchmarks.direct [--rounds N] [--seconds S] [--lines N] [--json]`
"""

import argparse
import asyncio
import random
from collections.abc import Mapping, Sequence

import redis.asyncio as redis
import uvloop

from benchmarks.direct_figures import Again, Alone, Idle, Series
from benchmarks.direct_peers import OURS, PEERS, PING, PROCESSES, THREAD_PING, WAITERS, Part, Stay, now
from benchmarks.direct_tables import publish
from benchmarks.direct_worker import Worker, workers
from benchmarks.report import Report, arguments
from harness import workplace

WORK_S = 0.001  # what a holder does inside
LEAD_S = 0.03  # from the order until the processes have it
SPREAD_S = 0.1  # waiters begin to ask at random within so long: the polling interval of redis-py's lock
SETTLE_S = 0.03  # from the last asking until the line is complete
IDLE_S = 3.0  # how long nobody moves
SLICES = 5  # of each second of cycles, so that all locks share a machine's good and bad moments
TRIES = 10  # of a line, when the machine is busy with something else


class Bench:
    """The processes that compete, and the Redis that they share."""

    def __init__(self, processes: Sequence[Worker], server: redis.Redis) -> None:
        self._processes = processes
        self._server = server
        self._random = random.Random(1)
        self._keys = 0

    async def warm(self, lock: str) -> None:
        """Let all processes connect, and meet once where they share the lock."""
        await self.alone(lock, LEAD_S, keys=50, tasks=20)
        if lock not in (PING, THREAD_PING, "in_memory"):
            await self._compete(lock, self._waiters(self._key(lock), now(), 0.0))

    async def alone(self, lock: str, seconds: float, *, keys: int, tasks: int) -> Alone:
        """Let one process take and give back, each task on keys of its own."""
        names = [self._key(lock) for _ in range(keys)]
        begin = now() + LEAD_S / 2
        parts = [Part(task, names[task::tasks], begin, 0.0, begin + seconds) for task in range(tasks)]
        before = await self._server.info("stats")
        stays = await self._processes[0].play(lock, parts)
        after = await self._server.info("stats")
        return Alone.of(stays, after["total_reads_processed"] - before["total_reads_processed"] - 1)

    async def line(self, lock: str, hold_s: float = SPREAD_S + SETTLE_S) -> list[Stay]:
        """Let all wait behind a holder, and then have their turns, each once."""
        for _ in range(TRIES):
            key = self._key(lock)
            begin = now() + 2 * LEAD_S
            first = Part(WAITERS, [key], begin - LEAD_S, LEAD_S + hold_s, 0.0)
            stays = await self._compete(lock, [*self._waiters(key, begin, 0.0), first])
            [holder] = (stay for stay in stays if stay.waiter == WAITERS)
            asked = [stay.asked for stay in stays if stay is not holder]
            if holder.entered < min(asked) and max(asked) < holder.left:
                return stays
        raise RuntimeError(f"{TRIES} lines did not form in time: this machine is too busy for a measurement")

    async def again(self, lock: str, seconds: float) -> Again:
        """Let all come again and again."""
        begin = now() + LEAD_S
        since = begin + SPREAD_S + SETTLE_S
        until = since + seconds
        stays = await self._compete(lock, self._waiters(self._key(lock), begin, until))
        return Again.of(stays, WAITERS, since, until)

    async def idle(self, lock: str) -> Idle:
        """Ask Redis what it had to do while all waited and nobody moved."""
        line = asyncio.ensure_future(self.line(lock, hold_s=2 * (SPREAD_S + SETTLE_S) + IDLE_S))
        await asyncio.sleep(2 * LEAD_S + SPREAD_S + SETTLE_S)
        before = await self._server.info("everything")
        await asyncio.sleep(IDLE_S)
        after = await self._server.info("everything")
        await line
        return Idle.of(before, after, IDLE_S)

    def _key(self, lock: str) -> str:
        self._keys += 1
        return f"{lock}-{self._keys}"

    def _waiters(self, key: str, begin: float, until: float) -> list[Part]:
        moments = [begin + self._random.uniform(0, SPREAD_S) for _ in range(WAITERS)]
        return [Part(waiter, [key], moments[waiter], WORK_S, until) for waiter in range(WAITERS)]

    async def _compete(self, lock: str, parts: Sequence[Part]) -> list[Stay]:
        shares = [(process, list(parts[place::PROCESSES])) for place, process in enumerate(self._processes)]
        played = await asyncio.gather(*(process.play(lock, share) for process, share in shares))
        return [stay for stays in played for stay in stays]


async def measure(bench: Bench, options: argparse.Namespace, report: Report) -> dict[str, Series]:
    """Measure all locks, round after round; what a first use costs is not measured."""
    series = {lock: Series() for lock in (PING, THREAD_PING, *OURS, *PEERS)}
    shared = {lock: found for lock, found in series.items() if lock not in (PING, THREAD_PING, "in_memory")}
    report.progress("connections and caches are warmed")
    for lock in series:
        await bench.warm(lock)
    for number in range(options.rounds):
        where = f"round {number + 1} of {options.rounds}"
        report.progress(f"{where}: nobody to wait for")
        for _ in range(SLICES):
            await measure_alone(bench, options.seconds / SLICES, series)
        for lock, found in shared.items():
            report.progress(f"{where}: {WAITERS} waiters: {lock}")
            for _ in range(options.lines):
                found.lines.add(await bench.line(lock))
            found.again.append(await bench.again(lock, options.seconds * 2))
    for lock, found in shared.items():
        report.progress(f"{WAITERS} wait for {IDLE_S:g} s: {lock}")
        found.idle = await bench.idle(lock)
    return series


async def measure_alone(bench: Bench, seconds: float, series: Mapping[str, Series]) -> None:
    """Measure a slice of each lock's cycles."""
    for lock, found in series.items():
        found.one_key.append(await bench.alone(lock, seconds, keys=1, tasks=1))
        if lock not in (PING, THREAD_PING):
            found.many_keys.append(await bench.alone(lock, seconds, keys=50, tasks=20))


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=2, help="through all locks, one after the other")
    parser.add_argument(
        "--seconds", type=float, default=0.6, help="of each kind of cycle in a round; twice as long of coming again"
    )
    parser.add_argument("--lines", type=int, default=10, help="lines of waiters of each lock in a round")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    async with workplace() as place:
        report.progress(f"starting Redis and {PROCESSES} processes")
        store = await place.redis()
        async with (
            redis.Redis(host=store.host, port=store.port) as server,
            workers(PROCESSES, store.host, store.port) as processes,
        ):
            series = await measure(Bench(processes, server), options, report)
    publish(report, options, series)
    overlapped = [lock for lock, found in series.items() if found.overlaps]
    if overlapped:
        raise SystemExit(f"two held one lock at the same time: {', '.join(overlapped)}")


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
