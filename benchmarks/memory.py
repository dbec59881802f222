"""What conversations and waiters cost: the daemon's memory and CPU as they become many, and bytes in Redis for each.

`python -m benchmarks.memory [--conversations N] [--waiters N] [--json]`

An idle conversation is measured when its finished requests are forgotten and its history has expired; both are kept for a
few seconds only, so in the other figures, too, few histories are left. What one costs is measured by itself.
"""

import argparse
import asyncio
from dataclasses import asdict, dataclass
from typing import Any

import aio_pika
import redis.asyncio as redis
import uvloop
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from benchmarks.report import Report, arguments
from daemon.config.settings import BrokerSettings
from harness import DaemonProcess, RedisServer, workplace
from lockstore.core.rules import Limits
from lockstore.stores.redis.keys import ConcurrentKeys

STEPS = 5  # measurements on the way to the full number
DEDUP_WINDOW_S = 3.0  # how long finished requests are remembered: short, so that idle conversations become idle
HISTORY_KEEP_S = 3.0  # likewise
HANDOFFS = 500
WAVE = 2000  # conversations that are alive at a time on the way to many idle ones
WARM = 3000  # conversations served before anything is measured
FEW = 150  # keys of the shards
NAMES = BrokerSettings().names


@dataclass(slots=True)
class Step:
    """What was seen after so many more."""

    count: int
    daemon_mib: float
    cpu_us: float
    redis_bytes: float


class Bench:
    """A daemon, and someone who publishes to it as fast as it answers."""

    def __init__(self, daemon: DaemonProcess, channel: AbstractChannel, store: redis.Redis) -> None:
        self.daemon = daemon
        self._channel = channel
        self._store = store
        self._gate = asyncio.Semaphore(300)
        self._answered = asyncio.Event()
        self._known: set[str] = set()
        self._released = 0

    @property
    def _served(self) -> int:
        """How many messages have had their first answer."""
        return len(self._known) + self._released

    async def _on_answer(self, message: AbstractIncomingMessage) -> None:
        if message.type == "released":
            self._released += 1
        else:  # queued or granted, or both one after the other: the message id names the ticket and then the event
            self._known.add((message.message_id or "").rpartition(".")[0])
        self._answered.set()

    async def open(self) -> None:
        """Have the answers come here."""
        queue = await self._channel.declare_queue("bench.replies", exclusive=True)
        await queue.consume(self._on_answer, no_ack=True)
        self._exchange = await self._channel.get_exchange(NAMES.requests)

    async def say(self, bodies: list[str]) -> float:
        """Publish these, wait until all are served, and give the daemon's CPU microseconds for each."""
        before = self.daemon.cpu_s

        async def publish(body: str) -> None:
            message = aio_pika.Message(body.encode(), delivery_mode=2, reply_to="bench.replies")
            async with self._gate:
                await self._exchange.publish(message, "0")

        wanted = self._served + len(bodies)
        await asyncio.gather(*map(publish, bodies))
        while self._served < wanted:
            self._answered.clear()
            await self._answered.wait()
        return (self.daemon.cpu_s - before) / len(bodies) * 1e6

    async def redis_bytes(self) -> int:
        """Give the memory that Redis uses for data and itself."""
        return int((await self._store.info("memory"))["used_memory"])

    async def grow(self, bodies: list[str]) -> list[Step]:
        """Publish in a few steps, and measure after each."""
        steps: list[Step] = []
        empty = await self.redis_bytes()
        share = len(bodies) // STEPS
        for number in range(STEPS):
            cpu_us = await self.say(bodies[number * share : (number + 1) * share])
            count = (number + 1) * share
            each = (await self.redis_bytes() - empty) / count
            steps.append(Step(count, self.daemon.resident_bytes / 2**20, cpu_us, each))
        return steps

    async def idle_bytes(self, conversations: int) -> float:
        """Serve so many conversations, some at a time as in life, and give what each costs when it is forgotten."""
        keys, empty = await self._store.dbsize(), await self.redis_bytes()
        for start in range(0, conversations, WAVE):
            count = min(WAVE, conversations - start)
            await self.say(requests("idle", start, count, one_line=False))
            await self.say(releases("idle", start, count, one_line=False))
        await self.until_keys(keys + conversations + FEW)
        return (await self.redis_bytes() - empty) / conversations

    async def history_bytes(self) -> int:
        """Give what the list of a conversation's events costs, when it is as long as it gets to be told."""
        await self.say(requests("told", 0, Limits().history // 2, one_line=True))
        await self.say(releases("told", 0, Limits().history // 2, one_line=True))
        keys = ConcurrentKeys()
        events = keys.of_line("told", keys.shard_of("told"))[5]
        length = await self._store.llen(events)
        return (await self._store.memory_usage(events) or 0) * Limits().history // length

    async def until_keys(self, most: int) -> None:
        """Wait until finished requests are forgotten, histories have expired, and only so many keys are left."""
        while await self._store.dbsize() > most:  # noqa: ASYNC110 - Redis tells when it is asked
            await asyncio.sleep(0.2)


def requests(conversation: str, first: int, count: int, *, one_line: bool) -> list[str]:
    """Write requests, all in one conversation or each in its own."""
    text = '{{"type":"request","conversation_id":"{0}","request_id":"{1:08x}-0000-4000","lifetime":3600,"wait":3600}}'
    return [
        text.format(conversation if one_line else f"{conversation}-{place:06}", place)
        for place in range(first, first + count)
    ]


def releases(conversation: str, first: int, count: int, *, one_line: bool) -> list[str]:
    """Write the releases to those requests."""
    return [body.replace('"request"', '"release"').replace(',"lifetime":3600,"wait":3600', "")
            for body in requests(conversation, first, count, one_line=one_line)]  # fmt: skip


async def measured(bench: Bench, options: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Grow both ways, and shrink again."""
    await bench.say(requests("warm", 0, WARM, one_line=False))
    await bench.say(releases("warm", 0, WARM, one_line=False))
    await bench.until_keys(WARM + FEW)
    report.progress(f"{options.conversations:,} conversations that are served and forgotten")
    idle = await bench.idle_bytes(options.conversations)
    report.progress(f"{options.conversations:,} conversations with one ticket each")
    conversations = await bench.grow(requests("conversation", 0, options.conversations, one_line=False))
    report.progress("releasing them all, and waiting until they are forgotten")
    await bench.say(releases("conversation", 0, options.conversations, one_line=False))
    await bench.until_keys(WARM + 2 * options.conversations + FEW)
    history = await bench.history_bytes()
    report.progress("hand-offs in a line of 10")
    await bench.say(requests("short", 0, 10, one_line=True))
    short_us = 0.0
    for start in range(0, HANDOFFS, 10):
        await bench.say(requests("short", start + 10, 10, one_line=True))
        short_us += await bench.say(releases("short", start, 10, one_line=True)) / (HANDOFFS / 10)
    report.progress(f"one conversation with {options.waiters:,} waiters")
    waiters = await bench.grow(requests("long", 0, options.waiters, one_line=True))
    long_us = 0.0
    for start in range(0, HANDOFFS, 10):
        await bench.say(requests("long", start + options.waiters, 10, one_line=True))
        long_us += await bench.say(releases("long", start, 10, one_line=True)) / (HANDOFFS / 10)
    return {
        "conversations": [asdict(step) for step in conversations],
        "waiters": [asdict(step) for step in waiters],
        "bytes_per_granted_ticket": conversations[-1].redis_bytes,
        "bytes_per_waiting_ticket": waiters[-1].redis_bytes,
        "bytes_per_idle_conversation": idle,
        "bytes_per_history": history,
        "cpu_us_per_handoff_line_of_10": short_us,
        "cpu_us_per_handoff_long_line": long_us,
        "daemon_mib_first": conversations[0].daemon_mib,
        "daemon_mib_last": waiters[-1].daemon_mib,
    }


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--conversations", type=int, default=100_000, help="with one ticket each")
    parser.add_argument("--waiters", type=int, default=10_000, help="in one conversation")


def publish(report: Report, figures: dict[str, Any]) -> None:
    """Print what was measured."""
    rows = [
        [
            f"{step['count']:,} {what}",
            f"{step['daemon_mib']:.1f}",
            f"{step['cpu_us']:.0f}",
            f"{step['redis_bytes']:.0f}",
        ]
        for what in ("conversations", "waiters")
        for step in figures[what]
    ]
    rows.append([f"a history of {Limits().history} events", "", "", f"{figures['bytes_per_history']:.0f}"])
    rows.append(["an idle conversation, its history expired", "", "", f"{figures['bytes_per_idle_conversation']:.0f}"])
    rows.append(["hand-off in a line of 10", "", f"{figures['cpu_us_per_handoff_line_of_10']:.0f}", ""])
    rows.append(["hand-off in the long line", "", f"{figures['cpu_us_per_handoff_long_line']:.0f}", ""])
    columns = ["", "daemon MiB", "daemon CPU us each", "Redis bytes each"]
    report.print("What conversations and waiters cost", columns, rows, figures)


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    async with workplace() as place:
        report.progress("starting RabbitMQ, Redis and the daemon")
        node, server = await place.rabbitmq(), await place.redis()
        daemon = await place.daemon(configured(node.url, server, options.waiters))
        connection = await aio_pika.connect(node.url)
        async with redis.Redis(host=server.host, port=server.port, db=1) as store:
            bench = Bench(daemon, await connection.channel(), store)
            await bench.open()
            figures = await measured(bench, options, report)
        await connection.close()
    publish(report, figures)


def configured(url: str, server: RedisServer, waiters: int) -> dict[str, Any]:
    """Configure the daemon for long lines and a short memory."""
    return {
        "lock_store": {"type": "concurrent_redis", "host": server.host, "port": server.port},
        "broker": {"url": url},
        "daemon": {
            "max_waiting": waiters * 2,
            "dedup_window": DEDUP_WINDOW_S,
            "history_keep": HISTORY_KEEP_S,
        },
    }


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
