"""How fast the daemon drains a filled queue, beside a plain aio-pika echo worker draining the same queue in the same run.

Every message is a request that is granted at once, in a conversation of its own: one grant, one confirmed reply.
`python -m benchmarks.throughput [--messages N] [--rounds N] [--json]`
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import uvloop

from benchmarks.report import Report, arguments, median
from daemon.broker.topology import declare
from daemon.config.settings import BrokerSettings
from harness import RabbitMQ, RedisServer, Workplace, cpu_s_of, workplace

PREFETCH = 500


@dataclass
class Series:
    """What the rounds of one worker gave."""

    per_second: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


class Field:
    """The queue that is drained, and the one that the replies go to; nobody consumes those, which costs nobody time."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, broker: BrokerSettings) -> None:
        self._channel = channel
        self._broker = broker
        self._round = 0

    async def lay_out(self) -> None:
        """Declare the daemon's own topology, and a queue that takes the public events."""
        await declare(self._channel, self._broker)
        self.replies = await self._channel.declare_queue("bench.replies", exclusive=False, auto_delete=False)
        events = await self._channel.declare_queue("bench.events", arguments={"x-max-length": 1000})
        await events.bind(self._broker.names.events, "#")

    async def fill(self, messages: int) -> None:
        """Fill the request queue, and empty the replies."""
        self._round += 1
        await self.replies.purge()
        exchange = await self._channel.get_exchange(self._broker.names.requests)
        gate = asyncio.Semaphore(500)

        async def publish(place: int) -> None:
            name = f"{self._round}-{place}"
            body = f'{{"type":"request","conversation_id":"user-{name}","request_id":"{name}","lifetime":3600}}'
            message = aio_pika.Message(
                body.encode(), delivery_mode=2, reply_to=self.replies.name, correlation_id=name, message_id=name
            )
            async with gate:
                await exchange.publish(message, self.key(f"user-{name}"))

        await asyncio.gather(*(publish(place) for place in range(messages)))

    def key(self, conversation: str) -> str:  # noqa: ARG002 - there is one partition
        """Give the routing key for a conversation's messages."""
        return "0"

    async def answered(self) -> int:
        """Count the replies."""
        queue = await self._channel.declare_queue(self.replies.name, passive=True)
        return queue.declaration_result.message_count or 0


async def measure(ground: Field, messages: int, pid: int, series: Series) -> None:
    """Time the drain from the first replies to the last, so that a process's start does not count."""
    while (begun := await ground.answered()) < messages // 20:  # noqa: ASYNC110 - the broker tells when it is asked
        await asyncio.sleep(0.01)
    started, cpu_s = time.perf_counter(), cpu_s_of(pid)
    async with asyncio.timeout(300):
        while await ground.answered() < messages:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.02)
    took_s = time.perf_counter() - started
    series.per_second.append((messages - begun) / took_s)
    series.cpu_us.append((cpu_s_of(pid) - cpu_s) / (messages - begun) * 1e6)


@asynccontextmanager
async def echo(url: str, queue: str) -> AsyncIterator[int]:
    """Run the echo worker."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.echo", url, queue, str(PREFETCH), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield worker.pid
    finally:
        worker.kill()
        await worker.wait()


def configured(node: RabbitMQ, store: RedisServer, *, events: bool) -> dict[str, Any]:
    """Configure the daemon: the recommended store, everything else at its default."""
    return {
        "lock_store": {"type": "concurrent_redis", "host": store.host, "port": store.port},
        "broker": {"url": node.url, "prefetch": PREFETCH},
        "daemon": {"events": events},
    }


async def drained(place: Workplace, ground: Field, options: argparse.Namespace, report: Report) -> dict[str, Series]:
    """Let each worker drain the queue in turn, round after round."""
    node, store = await place.rabbitmq(), await place.redis()
    queue = BrokerSettings().names.request_queue(0)
    series = {name: Series() for name in ("echo worker", "daemon, events off", "daemon, events on")}
    for number in range(options.rounds):
        for name, figures in series.items():
            await ground.fill(options.messages)
            if name == "echo worker":
                async with echo(node.url, queue) as pid:
                    await measure(ground, options.messages, pid, figures)
            else:
                daemon = await place.daemon(configured(node, store, events=name.endswith("on")))
                await measure(ground, options.messages, daemon.pid, figures)
                await daemon.close()
            done = f"{figures.per_second[-1]:,.0f}/s, {figures.cpu_us[-1]:.0f} us of CPU a message"
            report.progress(f"round {number + 1} of {options.rounds}: {name}: {done}")
    return series


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=15_000, help="in the queue at the start of each drain")
    parser.add_argument("--rounds", type=int, default=3, help="drains of each worker; the median counts")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    async with workplace() as place:
        report.progress("starting RabbitMQ and Redis")
        node = await place.rabbitmq()
        connection = await aio_pika.connect(node.url)
        ground = Field(await connection.channel(), BrokerSettings())
        await ground.lay_out()
        series = await drained(place, ground, options, report)
        await connection.close()
    rates = {name: median(figures.per_second) for name, figures in series.items()}
    cpu_us = {name: median(figures.cpu_us) for name, figures in series.items()}
    reference = rates["echo worker"]
    rows = [[name, f"{rates[name]:,.0f}", f"{rates[name] / reference:.2f}", f"{cpu_us[name]:.0f}"] for name in series]
    ratios = {
        "ratio_events_off": rates["daemon, events off"] / reference,
        "ratio_events_on": rates["daemon, events on"] / reference,
    }
    raw = {name: {"per_second": item.per_second, "cpu_us": item.cpu_us} for name, item in series.items()}
    figures = {**ratios, "per_second": rates, "cpu_us": cpu_us, "messages": options.messages, "raw": raw}
    title = f"Draining {options.messages:,} requests: median of {options.rounds} rounds"
    report.print(title, ["", "messages/s", "of the echo's", "CPU us/message"], rows, figures)


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
