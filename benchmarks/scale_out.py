"""Two daemons on two partitions beside one daemon that has both: how much faster the queues are drained, and who is the bound.

All share two cores here, so the same is measured again with daemons that may run only a part of the time, as on machines of
their own that are slower than the broker's: then the daemons are the bound, and not RabbitMQ.
`python -m benchmarks.scale_out [--messages N] [--rounds N] [--share PERCENT] [--json]`
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import uvloop

from benchmarks.cycles import race
from benchmarks.driver import Driver
from benchmarks.report import Report, arguments, median
from benchmarks.throughput import Field, configured
from daemon.config.settings import BrokerSettings
from harness import DaemonProcess, Server, Workplace, workplace
from lockstore.protocol.naming import partition_of

PARTITIONS = 2
WARM_CYCLES = 400
PERIOD_S = 0.010  # of running and standing still, where a daemon may run only a part of the time
SETTLE_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain. CPU in microseconds for each message, by who spent it; `busy` in cores."""

    per_second: float
    cpu_us: dict[str, float]
    busy: dict[str, float]


def busy_with(daemon: DaemonProcess) -> set[int]:
    """Give the partitions that a daemon is active on and has not passed on, as its log tells."""
    busy: set[int] = set()
    for line in daemon.log_lines():
        if line.get("event") == "partition.active":
            busy.add(line["partition"])
        elif line.get("event") == "partition.passed_on":
            busy.discard(line["partition"])
    return busy


async def settle(driver: Driver, daemons: Sequence[DaemonProcess]) -> None:
    """Keep all partitions busy until each daemon has its own."""
    number, run = 0, time.monotonic_ns()  # no request id comes twice

    async def one(place: int) -> None:
        await driver.cycle(f"warm-{place}", f"{run}-{number}-{place}")

    async with asyncio.timeout(SETTLE_LIMIT_S):
        while True:
            number += 1
            await race(one, WARM_CYCLES, 50)
            shares = [busy_with(daemon) for daemon in daemons]
            if all(shares) and sum(map(len, shares)) == PARTITIONS:
                return


@asynccontextmanager
async def slowed(daemons: Sequence[DaemonProcess], share: float) -> AsyncIterator[None]:
    """Let daemons run only a share of the time, all at once."""

    async def brake() -> None:
        while True:
            for daemon in daemons:
                daemon.resume()
            await asyncio.sleep(PERIOD_S * share)
            for daemon in daemons:
                daemon.pause()
            await asyncio.sleep(PERIOD_S * (1 - share))

    braking = asyncio.create_task(brake())
    try:
        yield
    finally:
        braking.cancel()
        await asyncio.gather(braking, return_exceptions=True)
        for daemon in daemons:
            daemon.resume()


class Bench:
    """The servers, and what is measured on them."""

    def __init__(self, place: Workplace, ground: Field, options: argparse.Namespace) -> None:
        self._place = place
        self._ground = ground
        self._options = options

    async def drain(self, count: int, share: float) -> Drain:
        """Start so many daemons, fill the queues while they stand still, and time them from then on."""
        node, store = await self._place.rabbitmq(), await self._place.redis()
        config = configured(node, store, events=False)
        config["broker"]["partitions"] = PARTITIONS
        daemons = [await self._place.daemon(config) for _ in range(count)]
        async with Driver(node.url, PARTITIONS) as driver:
            await settle(driver, daemons)
        for daemon in daemons:
            daemon.pause()
        await self._ground.fill(self._options.messages)
        processes: dict[str, Sequence[Server]] = {"RabbitMQ": [node], "Redis": [store], "daemons": daemons}
        before = {name: sum(one.cpu_s for one in some) for name, some in processes.items()}
        started = time.perf_counter()
        async with slowed(daemons, share):
            while await self._ground.answered() < self._options.messages:  # noqa: ASYNC110 - the broker tells when asked
                await asyncio.sleep(0.02)
            took_s = time.perf_counter() - started
        used = {name: sum(one.cpu_s for one in some) - before[name] for name, some in processes.items()}
        for daemon in daemons:
            await daemon.close()
        messages = self._options.messages
        cpu_us = {name: cpu_s / messages * 1e6 for name, cpu_s in used.items()}
        return Drain(messages / took_s, cpu_us, {name: cpu_s / took_s for name, cpu_s in used.items()})


class Spread(Field):
    """Fills both partitions alike."""

    def key(self, conversation: str) -> str:
        """Give the partition of a conversation."""
        return str(partition_of(conversation, PARTITIONS))


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=12_000, help="in the queues at the start of each drain")
    parser.add_argument("--rounds", type=int, default=3, help="the median counts")
    parser.add_argument("--share", type=int, default=20, help="percent of the time that slowed daemons run")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    drains: dict[tuple[int, float], list[Drain]] = {}
    async with workplace() as place:
        report.progress("starting RabbitMQ and Redis")
        node = await place.rabbitmq()
        connection = await aio_pika.connect(node.url)
        ground = Spread(await connection.channel(), BrokerSettings(partitions=PARTITIONS))
        await ground.lay_out()
        bench = Bench(place, ground, options)
        for number in range(options.rounds):
            for share in (1.0, options.share / 100):
                for count in (1, 2):
                    done = await bench.drain(count, share)
                    drains.setdefault((count, share), []).append(done)
                    what = f"{count} daemons at {share:.0%}: {done.per_second:,.0f}/s"
                    report.progress(f"round {number + 1} of {options.rounds}: {what}")
        await connection.close()
    publish(report, options, drains)


def publish(report: Report, options: argparse.Namespace, drains: dict[tuple[int, float], list[Drain]]) -> None:
    """Print what was measured."""
    figures: dict[str, Any] = {"messages": options.messages}
    rows = []
    for (count, share), done in drains.items():
        rate = median([drain.per_second for drain in done])
        ratio = rate / median([drain.per_second for drain in drains[1, share]])
        cpu = {name: median([drain.cpu_us[name] for drain in done]) for name in done[0].cpu_us}
        busy = {name: median([drain.busy[name] for drain in done]) for name in done[0].busy}
        name = f"{count} daemon{'s' * (count > 1)}" + ("" if share == 1 else f", running {share:.0%} of the time")
        figures[f"{count} at {share}"] = {"per_second": rate, "ratio": ratio, "cpu_us": cpu, "busy_cores": busy}
        cells = (f"{cpu[who]:.0f} us, {busy[who]:.2f}" for who in cpu)
        rows.append([name, f"{rate:,.0f}", f"{ratio:.2f}", *cells])
    title = f"Draining {options.messages:,} requests from two partitions: CPU for each message, and cores busy"
    report.print(title, ["", "messages/s", "of one's", "RabbitMQ", "Redis", "daemons"], rows, figures)


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
