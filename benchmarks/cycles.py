"""Whole cycles (request, granted, release, released) per second, and whose CPU each of them takes.

Beside it in the same run: a plain aio-pika echo worker, asked twice for each cycle, as a cycle has two messages each way.
`python -m benchmarks.cycles [--outstanding N] [--cycles N] [--rounds N] [--json]`
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aio_pika
import uvloop

from benchmarks.driver import Driver
from benchmarks.report import Report, arguments, median, percentile
from benchmarks.throughput import PREFETCH, configured, echo
from harness import Workplace, cpu_s_of, workplace

ECHO_QUEUE = "bench.echo"
WARM = 500


@dataclass(slots=True)
class Round:
    """One round of one contestant. CPU in microseconds for each cycle, by who spent it."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]


async def race(one: Callable[[int], Awaitable[None]], cycles: int, outstanding: int) -> list[float]:
    """Do so many cycles, so many of them at a time, and give how long each took."""
    numbers = iter(range(cycles))
    took: list[float] = []

    async def runner() -> None:
        for number in numbers:
            started = time.perf_counter()
            await one(number)
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(runner() for _ in range(outstanding)))
    return took


async def measured(one: Callable[[int], Awaitable[None]], pids: dict[str, int], options: argparse.Namespace) -> Round:
    """Run a round and attribute the CPU time."""
    before = {name: cpu_s_of(pid) for name, pid in pids.items()}
    started = time.perf_counter()
    took = await race(one, options.cycles, options.outstanding)
    wall_s = time.perf_counter() - started
    cpu_us = {name: (cpu_s_of(pid) - before[name]) / options.cycles * 1e6 for name, pid in pids.items()}
    return Round(options.cycles / wall_s, percentile(took, 0.5) * 1000, percentile(took, 0.99) * 1000, cpu_us)


async def contest(place: Workplace, options: argparse.Namespace, report: Report) -> dict[str, list[Round]]:
    """Let the echo worker and the daemon, without and with public events, work in turn."""
    node, store = await place.rabbitmq(), await place.redis()
    connection = await aio_pika.connect(node.url)
    channel = await connection.channel()
    await channel.declare_queue(
        ECHO_QUEUE, durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True}
    )
    rounds: dict[str, list[Round]] = {"echo worker, twice": [], "daemon, events off": [], "daemon, events on": []}
    shared = {"RabbitMQ": node.pid, "Redis": store.pid}
    for number in range(options.rounds):
        for name, done in rounds.items():
            async with Driver(node.url) as driver:
                if name.startswith("echo"):
                    async with echo(node.url, ECHO_QUEUE) as pid:
                        done.append(await _echoes(driver, {"worker": pid, **shared}, options))
                else:
                    daemon = await place.daemon(configured(node, store, events=name.endswith("on")))
                    done.append(await _cycles(driver, {"worker": daemon.pid, **shared}, options, f"{name}{number}"))
                    await daemon.close()
            last = done[-1]
            figures = f"{last.per_second:,.0f} cycles/s, worker {last.cpu_us['worker']:.0f} us"
            report.progress(f"round {number + 1} of {options.rounds}: {name}: {figures}")
    await connection.close()
    return rounds


async def _echoes(driver: Driver, pids: dict[str, int], options: argparse.Namespace) -> Round:
    async def one(number: int) -> None:
        for half in ("a", "b"):
            driver.echo(ECHO_QUEUE, f"{number}{half}")
            await driver.wait("echo", f"{number}{half}")

    await race(one, WARM, options.outstanding)
    return await measured(one, pids, options)


async def _cycles(driver: Driver, pids: dict[str, int], options: argparse.Namespace, run: str) -> Round:
    async def warm(number: int) -> None:
        await driver.cycle(f"warm-{number}", f"{run}-warm-{number}")

    async def one(number: int) -> None:
        await driver.cycle(f"conversation-{number % 5000}", f"{run}-{number}")

    await race(warm, WARM, options.outstanding)
    return await measured(one, pids, options)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--outstanding", type=int, default=100, help="cycles under way at a time")
    parser.add_argument("--cycles", type=int, default=15_000, help="in each round")
    parser.add_argument("--rounds", type=int, default=3, help="the median counts")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    async with workplace() as place:
        report.progress("starting RabbitMQ and Redis")
        rounds = await contest(place, options, report)
    publish(report, options, rounds)


def publish(report: Report, options: argparse.Namespace, rounds: dict[str, list[Round]]) -> None:
    """Print what was measured."""
    figures: dict[str, Any] = {"outstanding": options.outstanding, "cycles": options.cycles, "prefetch": PREFETCH}
    rows = []
    reference = median([done.per_second for done in rounds["echo worker, twice"]])
    for name, all_done in rounds.items():
        per_second, p50, p99 = (
            median([getattr(done, what) for done in all_done]) for what in ("per_second", "p50_ms", "p99_ms")
        )
        cpu = {who: median([done.cpu_us[who] for done in all_done]) for who in all_done[0].cpu_us}
        figures[name] = {"per_second": per_second, "p50_ms": p50, "p99_ms": p99, "cpu_us": cpu}
        share = f"{per_second / reference:.2f}"
        rows.append(
            [
                name,
                f"{per_second:,.0f}",
                share,
                f"{p50:.1f}",
                f"{p99:.1f}",
                *(f"{cpu_us:.0f}" for cpu_us in cpu.values()),
            ]
        )
    title = (
        f"Whole cycles, {options.outstanding} outstanding: median of {options.rounds} rounds; CPU in us for each cycle"
    )
    columns = ["", "cycles/s", "of the echo's", "p50 ms", "p99 ms", "worker", "RabbitMQ", "Redis"]
    report.print(title, columns, rows, figures)


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
