"""Hand-off on one contended conversation, beside the round trip of a plain echo over the same kind of queue, in one run.

A hand-off lasts from the moment the holder leaves its body (the start of the release) until the next holder is inside its
own: both are callers of the client. All waiters of a line stand in it before the first hand-off. The echo is a plain aio-pika
worker; one message is outstanding at a time. Lines with the recommended store and with in_memory take turns, so that what the
step in Redis adds can be read off. `python -m benchmarks.handoff [--waiters N] [--lines N] [--json]`
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from pamqp.common import FieldTable  # noqa: TC002 - one import line less to explain

from benchmarks.report import Report, arguments, percentile
from benchmarks.throughput import configured, echo
from harness import RabbitMQ, RedisServer, Workplace, workplace
from lockstore.client import LockClient
from lockstore.protocol.messages import Outbound

KINDS = ("concurrent_redis", "in_memory")
ECHO_QUEUE = "bench.echo"
WORK_S = 0.001  # what a holder does inside
LISTEN_S = 0.05  # for the subscription to hold; were it late, the count of waiters would never be full


@dataclass(slots=True)
class Stay:
    """One holder's time inside, in seconds of this process's monotonic clock."""

    number: int
    entered: float
    left: float


@dataclass(slots=True)
class Samples:
    """What was measured, in seconds."""

    handoffs: list[float] = field(default_factory=list)
    echoes: list[float] = field(default_factory=list)
    out_of_turn: int = 0
    overlaps: int = 0


async def _count(events: AsyncGenerator[Outbound, None], wanted: int) -> None:
    seen = 0
    async for _ in events:
        seen += 1
        if seen == wanted:
            return


async def cascade(clients: list[LockClient], waiters: int, samples: Samples) -> None:
    """Let so many callers wait behind a holder, and then hand over from one to the next until all had their turn."""
    stays: list[Stay] = []
    conversation = f"contended-{time.monotonic_ns()}"

    async def caller(locks: LockClient) -> None:
        async with locks.lock(conversation, wait=60, lifetime=60) as ticket:
            entered = time.perf_counter()
            await asyncio.sleep(WORK_S)
            stays.append(Stay(ticket.number, entered, time.perf_counter()))

    async with (
        asyncio.TaskGroup() as callers,
        aclosing(clients[0].events("queued", conversation=conversation)) as queued,
    ):
        listening = asyncio.ensure_future(_count(queued, waiters))
        async with clients[-1].lock(conversation, wait=60, lifetime=60) as first:
            await asyncio.sleep(LISTEN_S)
            for place in range(waiters):
                callers.create_task(caller(clients[place % len(clients)]))
            async with asyncio.timeout(30):
                await listening
            stays.append(Stay(first.number, 0.0, time.perf_counter()))
    samples.handoffs += [then.entered - one.left for one, then in pairwise(stays)]
    samples.out_of_turn += sum(then.number < one.number for one, then in pairwise(stays))
    samples.overlaps += sum(then.entered < one.left for one, then in pairwise(stays))


class Echoes:
    """A caller of the echo worker, with one message outstanding."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self._answered = asyncio.Event()

    async def open(self) -> None:
        """Declare the queue that the worker consumes, of the same kind as a request queue, and one for the replies."""
        arguments: FieldTable = {"x-queue-type": "quorum", "x-single-active-consumer": True}
        await self._channel.declare_queue(ECHO_QUEUE, durable=True, arguments=arguments)
        self._replies = await self._channel.declare_queue(exclusive=True)
        await self._replies.consume(self._on_reply, no_ack=True)

    async def _on_reply(self, _: AbstractIncomingMessage) -> None:
        self._answered.set()

    async def trips(self, count: int, samples: Samples) -> None:
        """Go there and back so many times."""
        body = b'{"type":"release","conversation_id":"contended","ticket_number":1000,"request_id":"0123456789abcdef"}'
        for _ in range(count):
            self._answered.clear()
            message = aio_pika.Message(body, delivery_mode=2, reply_to=self._replies.name, correlation_id="c")
            started = time.perf_counter()
            publishing = asyncio.ensure_future(self._channel.default_exchange.publish(message, ECHO_QUEUE))
            await self._answered.wait()
            samples.echoes.append(time.perf_counter() - started)
            await publishing


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--waiters", type=int, default=20, help="callers in each line")
    parser.add_argument(
        "--lines", type=int, default=100, help="lines of waiters, one after another; each hands over once"
    )


@dataclass(frozen=True, slots=True)
class Side:
    """A daemon with one kind of store, two clients of it, and what was measured between them."""

    namespace: str
    clients: list[LockClient]
    samples: Samples = field(default_factory=Samples)


async def sides(place: Workplace, node: RabbitMQ, store: RedisServer, stack: AsyncExitStack) -> dict[str, Side]:
    """Start a daemon for each kind of store, each in a namespace of its own."""
    found: dict[str, Side] = {}
    for kind in KINDS:
        config = configured(node, store, events=True)
        config["broker"]["namespace"] = kind
        if kind == "in_memory":
            config["lock_store"] = {"type": kind}
        await place.daemon(config)
        clients = [await stack.enter_async_context(LockClient(node.url, namespace=kind)) for _ in range(2)]
        found[kind] = Side(kind, clients)
    return found


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    echoed = Samples()
    async with workplace() as place, AsyncExitStack() as stack:
        report.progress("starting RabbitMQ, Redis and the daemons")
        node, store = await place.rabbitmq(), await place.redis()
        connection = await stack.enter_async_context(await aio_pika.connect(node.url))
        echoes = Echoes(await connection.channel())
        await echoes.open()
        await stack.enter_async_context(echo(node.url, ECHO_QUEUE))
        both = await sides(place, node, store, stack)
        for side in both.values():
            await cascade(side.clients, options.waiters, Samples())  # connections and caches are warm then
        await echoes.trips(50, Samples())
        for line in range(options.lines):
            await echoes.trips(options.waiters, echoed)
            for side in both.values():
                await cascade(side.clients, options.waiters, side.samples)
            if line % 10 == 9:
                report.progress(f"line {line + 1} of {options.lines}")
    publish(report, options, echoed.echoes, {kind: side.samples for kind, side in both.items()})


def publish(report: Report, options: argparse.Namespace, echoes: list[float], measured: dict[str, Samples]) -> None:
    """Print what was measured."""
    echo_p50, echo_p99 = (percentile(echoes, share) * 1000 for share in (0.5, 0.99))
    rows = [["echo, one outstanding", f"{echo_p50:.2f}", f"{echo_p99:.2f}", "1.00", ""]]
    stores: dict[str, dict[str, Any]] = {}
    for kind, samples in measured.items():
        p50, p99 = (percentile(samples.handoffs, share) * 1000 for share in (0.5, 0.99))
        rows.append(
            [f"hand-off, {kind}", f"{p50:.2f}", f"{p99:.2f}", f"{p50 / echo_p50:.2f}", str(samples.out_of_turn)]
        )
        stores[kind] = {
            "ratio_p50": p50 / echo_p50,
            "ratio_p99": p99 / echo_p50,
            "p50_ms": p50,
            "p99_ms": p99,
            "out_of_turn": samples.out_of_turn,
            "overlaps": samples.overlaps,
            "handoffs_ms": [1000 * s for s in samples.handoffs],
        }
    figures = {
        "echo_p50_ms": echo_p50,
        "echo_p99_ms": echo_p99,
        "echoes_ms": [1000 * s for s in echoes],
        "waiters": options.waiters,
        "stores": stores,
    }
    title = (
        f"{options.lines * options.waiters:,} hand-offs for each store, {options.waiters} waiters on one conversation"
    )
    report.print(title, ["", "p50 ms", "p99 ms", "p50 of the echo's", "out of turn"], rows, figures)


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
