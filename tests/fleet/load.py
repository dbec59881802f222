"""Bots that publish to many daemons, and write down everything."""

import asyncio
import json
import random
import uuid
import zlib
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from tests.support.bot import Bot
from tests.support.recorder import Recorder

OPEN_MOST = 60  # requests of one publisher that are not over
LIFETIME_S, WAIT_S = 20.0, 60.0
HOLD_MOST_S = 0.04
GHOST_S = 0.5  # how long at most a requester stays that goes away

PLANS = {
    "hold": 66,  # most hold for a moment and release
    "renew": 8,  # and renew meanwhile
    "forget": 4,  # let a short lease expire
    "impatient": 7,  # wait for a short time only
    "now": 4,  # wait not at all
    "leave": 5,  # leave the line at once
    "forgo": 1,  # release before asking
    "again": 3,  # ask twice, with one request id
    "ghost": 2,  # go away before the answer
}


@dataclass(frozen=True, slots=True)
class Work:
    """What the publishers are to do: on which conversations and partitions, and how much of it in a second."""

    conversations: int = 200
    partitions: int = 8
    publishers: int = 8
    rate: float = 120.0  # requests a second, all publishers together


class Publisher(Bot):
    """A replica with a connection, a channel and a reply queue of its own; publishes from all conversations."""

    def __init__(self, url: str, namespace: str, recorder: Recorder, work: Work, seed: str) -> None:
        super().__init__(url, namespace)
        self._recorder = recorder
        self._work = work
        self._random = random.Random(seed)
        self._name = seed
        self._places = count()
        self._plans: dict[str, str] = {}
        self._open: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []

    async def run(self, over: asyncio.Event) -> None:
        """Publish until it is over."""
        pause_s = self._work.publishers / self._work.rate
        while not over.is_set():
            self._raise_failures()
            burst = self._random.choice((1, 1, 2, 4))
            conversation = f"c{int(self._work.conversations * self._random.random() ** 2)}"  # the first ones are busy
            for _ in range(burst):
                self._ask(conversation)
            await asyncio.sleep(self._random.expovariate(1 / (burst * pause_s)))
            while len(self._open) >= OPEN_MOST and not over.is_set():
                await asyncio.sleep(0.02)

    async def finish(self) -> None:
        """Wait for what is still being done."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._raise_failures()

    # --- asking ----------------------------------------------------------------------------------------------------------

    def _ask(self, conversation: str) -> None:
        """Begin one request. What is begun first is on the channel first."""
        plan = self._random.choices(list(PLANS), list(PLANS.values()))[0]
        request_id = f"{self._name}-{len(self._plans)}"
        self._plans[request_id] = plan
        fields: dict[str, Any] = {"request_id": request_id, "lifetime": LIFETIME_S, "wait": WAIT_S}
        if plan in ("forget", "ghost"):
            fields["lifetime"] = round(self._random.uniform(0.2, 1.0), 3)
        if plan in ("impatient", "now"):
            fields["wait"] = round(self._random.uniform(0.05, 0.8), 3) if plan == "impatient" else 0
        if plan == "ghost":
            self._begin(self._haunt(conversation, fields))
            return
        self._open.add(request_id)
        if plan == "forgo":
            self._begin(self._publish("release", conversation, request_id=request_id))
        self._begin(self._publish("request", conversation, **fields))
        if plan == "leave":
            self._begin(self._publish("release", conversation, request_id=request_id))
        if plan == "again":
            self._begin(self._publish("request", conversation, **fields))

    async def _publish(self, kind: str, conversation: str, *, reply_to: str | None = None, **fields: Any) -> None:
        """Publish, write it down with its place, and wait for the confirmation."""
        request_id = fields.get("request_id")
        correlation = request_id if kind == "request" else uuid.uuid4().hex
        reply_to = reply_to or self.reply_to
        note = self._recorder.publishes(
            channel=self._name,
            place=next(self._places),
            kind=kind,
            conversation=conversation,
            correlation=correlation,
            reply_to=reply_to,
            request_id=request_id,
            number=fields.get("ticket_number"),
            lifetime=fields.get("lifetime"),
            wait=fields.get("wait"),
        )
        partition = zlib.crc32(conversation.encode()) % self._work.partitions
        body = json.dumps({"type": kind, "conversation_id": conversation, **fields}).encode()
        await self.send(body, partition=partition, reply_to=reply_to, correlation_id=correlation)
        self._recorder.confirmed(note)

    async def _haunt(self, conversation: str, fields: dict[str, Any]) -> None:
        """Ask with a reply queue that goes away."""
        queue = await self.channel.declare_queue(exclusive=True)
        consumer = await queue.consume(partial(self._overhear, queue.name), no_ack=True)
        await self._publish("request", conversation, reply_to=queue.name, **fields)
        await asyncio.sleep(self._random.uniform(0, GHOST_S))
        self._recorder.loses(queue.name)
        await queue.cancel(consumer)
        await queue.delete(if_unused=False, if_empty=False)

    async def _overhear(self, listener: str, message: AbstractIncomingMessage) -> None:
        self._recorder.hears(listener, message)

    # --- answering -------------------------------------------------------------------------------------------------------

    async def _on_answer(self, message: AbstractIncomingMessage) -> None:
        heard = self._recorder.hears(self.reply_to, message)
        request_id = heard.request_id or ""
        if (heard.conversation, request_id) not in self._recorder.open:
            self._open.discard(request_id)
        plan = self._plans.get(request_id)
        if heard.kind == "granted" and plan is not None and plan not in ("forget", "leave"):
            self._plans[request_id] = "forget"  # told again, it is not released again
            self._begin(self._hold(heard.conversation, request_id, heard.number, plan))

    async def _hold(self, conversation: str, request_id: str, number: int | None, plan: str) -> None:
        await asyncio.sleep(self._random.uniform(0, HOLD_MOST_S))
        if plan == "renew":
            await self._publish("renew", conversation, ticket_number=number)
            await asyncio.sleep(self._random.uniform(0, HOLD_MOST_S))
        named = {"ticket_number": number} if self._random.random() < 0.5 else {"request_id": request_id}
        await self._publish("release", conversation, **named)

    # --- tasks -----------------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    def _raise_failures(self) -> None:
        if self._failed:
            raise ExceptionGroup(
                "a publisher failed", [error for error in self._failed if isinstance(error, Exception)]
            )
