"""What daemons say of themselves, overheard."""

import asyncio
import json
import time
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from daemon.cluster.fair_share import SETTLE_S
from harness import DaemonProcess

SILENT_S = 4.0
STAY_S = SETTLE_S + 0.5  # whoever still wanted to give something would have done so


class Overheard:
    """The last word of each daemon of a namespace, by process id."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._exchange = f"{namespace}.daemons"
        self.words: dict[int, dict[str, Any]] = {}
        self._at: dict[int, float] = {}

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._url)
        channel = await self._connection.channel()
        exchange = await channel.declare_exchange(self._exchange, aio_pika.ExchangeType.FANOUT, durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange)
        await queue.consume(self._on_word, no_ack=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def _on_word(self, message: AbstractIncomingMessage) -> None:
        word = json.loads(message.body)
        self.words[word["pid"]] = word
        self._at[word["pid"]] = time.monotonic()

    def counts(self, *daemons: DaemonProcess) -> list[int]:
        """Give how many busy partitions each of these daemons says it has; -1: it says nothing."""
        fresh = time.monotonic() - SILENT_S
        return [len(self.words[d.pid]["busy"]) if self._at.get(d.pid, 0) > fresh else -1 for d in daemons]

    async def until_fair(self, busy: int, *daemons: DaemonProcess, patience_s: float = 40) -> None:
        """Wait until all busy partitions are fairly shared between these daemons, and stay where they are."""
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    before = moves(*daemons)
                    await asyncio.sleep(0.2)
                    if not self._is_fair(busy, *daemons):
                        continue
                    await asyncio.sleep(STAY_S)
                    if self._is_fair(busy, *daemons) and moves(*daemons) == before:
                        return
        except TimeoutError:
            raise AssertionError(f"shared as {self.counts(*daemons)}, {moves(*daemons)} moves") from None

    def _is_fair(self, busy: int, *daemons: DaemonProcess) -> bool:
        counts = self.counts(*daemons)
        return sum(counts) == busy and max(counts) - min(counts) <= 1


def moves(*daemons: DaemonProcess) -> int:
    """Count how often these daemons have passed a partition on."""
    return sum(len(daemon.events("partition.passed_on")) for daemon in daemons)
