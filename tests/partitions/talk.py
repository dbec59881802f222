"""Conversations over several partitions as a raw AMQP client leads them, and what came of each request."""

import asyncio
import json
import zlib
from collections import defaultdict
from contextlib import suppress
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import aio_pika
from pamqp.commands import Basic

from tests.support.bot import Bot

PATIENCE_S = 60.0
PAUSE_S = 0.02


class Talk:
    """Asks, gives back what it is granted, and sends again what came back unroutable or was sent to a wrong partition.

    It speaks on one channel, so what it says in a conversation has an order: that of saying.
    """

    def __init__(self, bot: Bot, partitions: int, *others: int) -> None:
        self._bot = bot
        self._guesses = [partitions, *others]
        self._heard = 0
        self._is_hushed = False
        self._sent: dict[str, tuple[str, dict[str, Any]]] = {}
        self.asked: dict[str, list[str]] = defaultdict(list)
        self.numbers: dict[str, set[int]] = defaultdict(set)
        self.answered: set[str] = set()
        self.released: set[str] = set()
        self.unroutable = 0
        self.misrouted = 0
        self.trouble: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.cancel()
        with suppress(asyncio.CancelledError):
            await self._listening

    async def ask(self, conversation: str) -> str:
        """Ask for the next ticket of a conversation."""
        request_id = f"{conversation}-{len(self.asked[conversation])}"
        self.asked[conversation].append(request_id)
        body = {"type": "request", "conversation_id": conversation, "request_id": request_id, "wait": 600}
        await self._send(request_id, conversation, body)
        return request_id

    async def ask_and_hear(self, conversation: str) -> None:
        """Ask, and wait for any answer that says where the ticket stands."""
        request_id = await self.ask(conversation)
        async with asyncio.timeout(PATIENCE_S):
            while request_id not in self.answered:
                await asyncio.sleep(PAUSE_S)

    async def flow(self, conversations: list[str], rate: float) -> None:
        """Ask in all conversations in turn, so many times a second, until hushed."""
        loop = asyncio.get_running_loop()
        began, count = loop.time(), 0
        while not self._is_hushed:
            await self.ask(conversations[count % len(conversations)])
            count += 1
            await asyncio.sleep(max(0.0, began + count / rate - loop.time()))

    def hush(self) -> None:
        """End the flow. (Cancelled, it would leave a request that is noted and was never sent.)"""
        self._is_hushed = True

    async def until_over(self) -> None:
        """Wait until everything that was asked for was granted and given back."""
        wanted = {request_id for ids in self.asked.values() for request_id in ids}
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not wanted <= self.released:
                    if self._listening.done():
                        self._listening.result()
                    await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            raise AssertionError(f"lost: {sorted(wanted - self.released)[:10]}; {self.trouble[-5:]}") from None

    def check(self) -> None:
        """One number for each request, and numbers in the order of asking."""
        doubled = {request_id: found for request_id, found in self.numbers.items() if len(found) != 1}
        assert not doubled, f"doubled: {doubled}"
        for conversation, request_ids in self.asked.items():
            numbers = [next(iter(self.numbers[request_id])) for request_id in request_ids]
            inversions = [(one, two) for one, two in pairwise(numbers) if one >= two]
            assert not inversions, f"{conversation}: {inversions}"
        assert not self.trouble, self.trouble[:5]

    async def _send(self, name: str, conversation: str, body: dict[str, Any]) -> None:
        """Publish until a queue takes it."""
        self._sent[name] = (conversation, body)
        exchange = await self._bot.channel.get_exchange(f"{self._bot.namespace}.requests", ensure=False)
        while True:
            message = aio_pika.Message(
                json.dumps(body).encode(),
                delivery_mode=2,
                message_id=name,
                correlation_id=name,
                reply_to=self._bot.reply_to,
            )
            partition = zlib.crc32(conversation.encode()) % self._guesses[0]
            told = await exchange.publish(message, str(partition))
            if not isinstance(getattr(told, "delivery", None), Basic.Return):
                return
            self.unroutable += 1
            self._guesses.append(self._guesses.pop(0))
            await asyncio.sleep(PAUSE_S)

    async def _listen(self) -> None:
        releasing: set[asyncio.Task[None]] = set()
        while True:
            while self._heard == len(self._bot.answers):
                await asyncio.sleep(0.005)
                for task in [task for task in releasing if task.done()]:
                    releasing.discard(task)
                    task.result()
            answer = self._bot.answers[self._heard]
            name = str(self._bot.messages[self._heard].correlation_id)
            self._heard += 1
            again = self._take_in(answer, name)
            if again is not None:
                releasing.add(asyncio.create_task(self._send(*again)))

    def _take_in(self, answer: dict[str, Any], name: str) -> tuple[str, str, dict[str, Any]] | None:
        """Note what was said, and give what is to be sent because of it."""
        request_id, number = answer["request_id"], answer["ticket_number"]
        conversation = answer["conversation_id"]
        match answer["type"]:
            case "queued" | "granted":
                self.numbers[request_id].add(number)
                self.answered.add(request_id)
                if answer["type"] == "granted":
                    release = {"type": "release", "conversation_id": conversation, "request_id": request_id}
                    return f"{request_id}/release", conversation, release
            case "released":
                self.released.add(request_id)
            case "rejected" if answer["reason"] == "wrong_partition":
                self.misrouted += 1
                self._guesses.remove(answer["partitions"])
                self._guesses.insert(0, answer["partitions"])
                return name, *self._sent[name]
            case "rejected" if answer["reason"] == "finished":
                pass  # it was delivered again after its end
            case _:
                self.trouble.append(answer)
        return None


def conversations(partitions: int, each: int, only: range | None = None) -> list[str]:
    """Name so many conversations in each partition, or in those of a range."""
    found: dict[int, list[str]] = {number: [] for number in only or range(partitions)}
    place = 0
    while any(len(names) < each for names in found.values()):
        name = f"c{place}"
        number = zlib.crc32(name.encode()) % partitions
        if number in found and len(found[number]) < each:
            found[number].append(name)
        place += 1
    return [names[turn] for turn in range(each) for names in found.values()]
