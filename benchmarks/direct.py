"""The lock stores in the bots' own processes, without the daemon, beside two Redis locks that bots use today, in one run.

Each lock is measured with nobody to wait for, in lines of waiters that come once, with waiters that come again at once, and
while all wait and nobody moves. `python -m benchmarks.direct [--rounds N] [--seconds S] [--lines N] [--json]`
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence

import redis.asyncio as redis
import uvloop

from benchmarks.contest import Part, Stay, now
from benchmarks.contest_field import LEAD_S, Contests, in_line_s
from benchmarks.contest_figures import Again
from benchmarks.contest_worker import Worker, workers
from benchmarks.direct_figures import OURS, PEERS, PING, PROCESSES, THREAD_PING, WAITERS, Alone, Idle, Series
from benchmarks.direct_tables import publish
from benchmarks.report import Report, arguments
from harness import workplace

WORK_S = 0.001  # what a holder does inside
IDLE_S = 3.0  # how long nobody moves
SLICES = 5  # of each second of cycles, so that all locks share a machine's good and bad moments


class Bench:
    """The processes that compete, and the Redis that they share."""

    def __init__(self, processes: Sequence[Worker], server: redis.Redis) -> None:
        self._processes = processes
        self._server = server
        self._contests = Contests(processes, hold_s=WORK_S)

    async def warm(self, lock: str) -> None:
        """Let all processes connect, and meet once where they share the lock."""
        await self.alone(lock, LEAD_S, keys=50, tasks=20)
        if lock not in (PING, THREAD_PING, "in_memory"):
            await self._contests.meet(lock, WAITERS)

    async def alone(self, lock: str, seconds: float, *, keys: int, tasks: int) -> Alone:
        """Let one process take and give back, each task on keys of its own."""
        names = [self._contests.key(lock) for _ in range(keys)]
        begin = now() + LEAD_S / 2
        parts = [Part(task, names[task::tasks], begin, 0.0, begin + seconds) for task in range(tasks)]
        before = await self._server.info("stats")
        stays = await self._processes[0].play(lock, parts)
        after = await self._server.info("stats")
        return Alone.of(stays, after["total_reads_processed"] - before["total_reads_processed"] - 1)

    async def line(self, lock: str) -> list[Stay]:
        """Let all wait behind a holder, and then have their turns, each once."""
        return await self._contests.line(lock, WAITERS)

    async def again(self, lock: str, seconds: float) -> Again:
        """Let all come again and again."""
        stays, window = await self._contests.again(lock, WAITERS, seconds)
        return Again.of(stays, WAITERS, window)

    async def idle(self, lock: str) -> Idle:
        """Ask Redis what it had to do while all waited and nobody moved."""
        ready_s = in_line_s(WAITERS)
        line = asyncio.ensure_future(self._contests.line(lock, WAITERS, more_s=IDLE_S + ready_s))
        await asyncio.sleep(2 * LEAD_S + ready_s)
        before = await self._server.info("everything")
        await asyncio.sleep(IDLE_S)
        after = await self._server.info("everything")
        await line
        return Idle.of(before, after, IDLE_S)


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
            workers(PROCESSES, {"redis": {"host": store.host, "port": store.port}}) as processes,
        ):
            series = await measure(Bench(processes, server), options, report)
    publish(report, options, series)
    overlapped = [lock for lock, found in series.items() if found.overlaps]
    if overlapped:
        raise SystemExit(f"two held one lock at the same time: {', '.join(overlapped)}")


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
