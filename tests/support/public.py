"""Anyone who follows the public events, and what they must add up to."""

import asyncio
import json
from collections import defaultdict
from itertools import pairwise
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.support.bot import PATIENCE_S

ENDS = ("released", "expired", "cancelled")


class Public:
    """Records every public event of a namespace, each once however often it was announced."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._namespace = namespace
        self._arrived = asyncio.Condition()
        self.events: dict[str, dict[str, Any]] = {}
        self.announced = 0

    async def __aenter__(self) -> Self:
        # A durable queue, and a robust connection: the broker may be restarted meanwhile.
        self.connection = await aio_pika.connect_robust(self._url, reconnect_interval=0.2)
        channel = await self.connection.channel()
        queue = await channel.declare_queue(f"{self._namespace}.public", durable=True)
        exchange = await channel.declare_exchange(
            f"{self._namespace}.events", aio_pika.ExchangeType.TOPIC, durable=True
        )
        await queue.bind(exchange, "#")
        await queue.consume(self._on_event)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        await message.ack()
        async with self._arrived:
            self.announced += 1
            self.events.setdefault(str(message.message_id), json.loads(message.body))
            self._arrived.notify_all()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Give the events of one type, in the order in which they were first heard."""
        return [event for event in self.events.values() if event["type"] == kind]

    def ended(self) -> set[str]:
        """Give the request ids that are over."""
        return {event["request_id"] for kind in ENDS for event in self.of(kind)}

    async def until_ended(self, request_ids: set[str], patience_s: float = PATIENCE_S) -> None:
        """Wait until all these requests are over."""
        async with self._arrived:
            try:
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait_for(lambda: request_ids <= self.ended())
            except TimeoutError:
                raise AssertionError(f"never ended: {sorted(request_ids - self.ended())}") from None

    def check(self) -> None:
        """One ticket per request, one end per ticket, one holder at a time, grants in the order of numbers."""
        numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
        for event in self.events.values():
            numbers[event["conversation_id"], event["request_id"]].add(event["ticket_number"])
        assert all(len(found) == 1 for found in numbers.values()), numbers
        tickets = [(conversation, *found) for (conversation, _), found in numbers.items()]
        assert len(set(tickets)) == len(tickets), "a number was given to two requests"
        ends = [(e["conversation_id"], e["ticket_number"]) for kind in ENDS for e in self.of(kind)]
        assert len(set(ends)) == len(ends), "a ticket ended twice"
        self._check_turns()

    def _check_turns(self) -> None:
        """By the store's clock: each grant comes after the end of the one before, and has a higher number."""
        ended_at = {(e["conversation_id"], e["ticket_number"]): e["at"] for kind in ENDS for e in self.of(kind)}
        grants: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for grant in self.of("granted"):
            grants[grant["conversation_id"]].append(grant)
        for conversation, line in grants.items():
            line.sort(key=lambda grant: grant["ticket_number"])
            for one, next_one in pairwise(line):
                end = ended_at[conversation, one["ticket_number"]]
                assert end <= next_one["at"], f"{conversation}: {next_one} was granted before the end of {one}"
