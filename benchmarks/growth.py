"""What a grant and a hand-off cost as conversations and waiters become many: CPU of the daemon and of Redis, and latency.

First, whole cycles of random conversations while 100, 1,000, ... are known to Redis. Then hand-offs in a line of 1, 10, ...
waiters, one at a time, beside the round trip of a plain echo in the same run.
`python -m benchmarks.growth [--known N] [--waiters N] [--json]`
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import aio_pika
import redis
import uvloop
from pamqp.common import FieldTable  # noqa: TC002 - one import line less to explain

from benchmarks.cycles import ECHO_QUEUE, race
from benchmarks.driver import Driver
from benchmarks.report import Report, arguments, percentile
from benchmarks.throughput import echo
from harness import DaemonProcess, RedisServer, cpu_s_of, workplace
from lockstore.stores.redis.keys import ConcurrentKeys

KNOWN_FIRST = 100
CYCLES = 6_000  # measured at each number of conversations
OUTSTANDING = 100
HANDOFFS = 600  # measured at each length of the line
FILL = 500  # requests that are outstanding while a line is filled
KEYS = ConcurrentKeys()


@dataclass(frozen=True, slots=True)
class Step:
    """What was measured at one size. CPU in microseconds for each cycle or hand-off; latencies in milliseconds."""

    size: int
    daemon_us: float
    redis_us: float
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class Bench:
    """Who takes part."""

    driver: Driver
    daemon: DaemonProcess
    server: RedisServer

    def cpu(self) -> tuple[float, float]:
        """Give the CPU seconds of the daemon and of Redis."""
        return cpu_s_of(self.daemon.pid), cpu_s_of(self.server.pid)

    def step(self, size: int, before: tuple[float, float], took_s: list[float]) -> Step:
        """Make the figures of a step."""
        daemon_us, redis_us = ((now - then) / len(took_s) * 1e6 for now, then in zip(self.cpu(), before, strict=True))
        return Step(size, daemon_us, redis_us, percentile(took_s, 0.5) * 1000, percentile(took_s, 0.99) * 1000)


def sizes(first: int, most: int) -> Iterator[int]:
    """Give 1, 10, 100, ... of what `first` begins, up to the most."""
    size = first
    while size < most:
        yield size
        size *= 10
    yield most


async def known(bench: Bench, options: argparse.Namespace, report: Report) -> list[Step]:
    """Serve random conversations of ever more that Redis knows: of each idle one its last number."""
    steps: list[Step] = []
    before = 0
    with redis.Redis(host=bench.server.host, port=bench.server.port, db=1) as store:
        for size in sizes(KNOWN_FIRST, options.known):
            report.progress(f"{size:,} conversations are known")
            for start in range(before, size, 10_000):
                names = [f"user-{place}" for place in range(start, min(size, start + 10_000))]
                store.mset({KEYS.of_line(name, KEYS.shard_of(name))[0]: 1 for name in names})
            before = size
            steps.append(await _known(bench, size))
    return steps


async def _known(bench: Bench, size: int) -> Step:
    chosen = random.Random(size)

    async def one(number: int) -> None:
        await bench.driver.cycle(f"user-{chosen.randrange(size)}", f"k{size}-{number}")

    await race(one, CYCLES // 10, OUTSTANDING)
    before = bench.cpu()
    took = await race(lambda number: one(CYCLES + number), CYCLES, OUTSTANDING)
    return bench.step(size, before, took)


async def lines(bench: Bench, options: argparse.Namespace, report: Report) -> list[Step]:
    """Hand over in ever longer lines, each kept at its length."""
    steps: list[Step] = []
    for size in sizes(1, options.waiters):
        report.progress(f"{size:,} waiters in one line")
        steps.append(await _line(bench, size))
    return steps


async def _line(bench: Bench, size: int) -> Step:
    driver, conversation = bench.driver, f"line-of-{size}"
    names = [f"w{size}-{place}" for place in range(size + 1 + HANDOFFS * 2)]
    head = driver.wait("granted", names[0])
    for start in range(0, size + 1, FILL):
        await driver.ask(conversation, names[start : min(start + FILL, size + 1)])
    await head
    took: list[float] = []
    before = bench.cpu()
    for place in range(HANDOFFS):
        granted = asyncio.ensure_future(driver.wait("granted", names[place + 1]))
        await asyncio.sleep(0)
        started = time.perf_counter()
        driver.say("release", conversation, names[place])
        took.append(await granted - started)
        await driver.ask(conversation, [names[size + 1 + place]])
    return bench.step(size, before, took)


async def echoes(driver: Driver) -> list[float]:
    """Measure the round trip of the echo, one message outstanding."""
    took: list[float] = []
    for number in range(HANDOFFS):
        answered = asyncio.ensure_future(driver.wait("echo", f"e{number}"))
        await asyncio.sleep(0)
        started = time.perf_counter()
        driver.echo(ECHO_QUEUE, f"e{number}")
        took.append(await answered - started)
    return took


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--known", type=int, default=1_000_000, help="conversations known to Redis at the end")
    parser.add_argument("--waiters", type=int, default=10_000, help="in the longest line")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    async with workplace() as place:
        report.progress("starting RabbitMQ, Redis and the daemon")
        node, server = await place.rabbitmq(), await place.redis()
        config = {
            "lock_store": {"type": "concurrent_redis", "host": server.host, "port": server.port},
            "broker": {"url": node.url},
            "daemon": {"max_waiting": options.waiters * 2 + HANDOFFS},
        }
        daemon = await place.daemon(config)
        connection = await aio_pika.connect(node.url)
        kind: FieldTable = {"x-queue-type": "quorum", "x-single-active-consumer": True}
        await (await connection.channel()).declare_queue(ECHO_QUEUE, durable=True, arguments=kind)
        async with echo(node.url, ECHO_QUEUE), Driver(node.url) as driver:
            bench = Bench(driver, daemon, server)
            await echoes(driver)  # connections and caches are warm then
            trips = await echoes(driver)
            by_waiters = await lines(bench, options, report)
            trips += await echoes(driver)
            by_known = await known(bench, options, report)
        await connection.close()
    publish(report, by_known, by_waiters, percentile(trips, 0.5) * 1000)


def publish(report: Report, by_known: list[Step], by_waiters: list[Step], echo_ms: float) -> None:
    """Print what was measured."""
    figures: dict[str, Any] = {
        "known": [asdict(step) for step in by_known],
        "waiters": [asdict(step) for step in by_waiters],
        "echo_p50_ms": echo_ms,
    }
    rows = [[f"{step.size:,}", f"{step.daemon_us:.0f}", f"{step.redis_us:.0f}"] for step in by_known]
    report.print("CPU of a whole cycle, in us", ["conversations known to Redis", "daemon", "Redis"], rows, figures)
    rows = [
        [
            f"{step.size:,}",
            f"{step.daemon_us:.0f}",
            f"{step.redis_us:.0f}",
            f"{step.p50_ms:.2f}",
            f"{step.p99_ms:.2f}",
            f"{step.p50_ms / echo_ms:.2f}",
        ]
        for step in by_waiters
    ]
    title = f"A hand-off and the next request, in us; its latency beside the echo's p50 of {echo_ms:.2f} ms"
    report.print(title, ["waiters in the line", "daemon", "Redis", "p50 ms", "p99 ms", "p50 of the echo's"], rows, {})


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
