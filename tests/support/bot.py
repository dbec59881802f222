"""A bot replica as any AMQP client in any language can be one: raw messages out, raw answers in."""

import asyncio
import json
import uuid
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

PATIENCE_S = 20.0


class Bot:
    """One connection, one reply queue, every answer kept."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self.namespace = namespace
        self.patience_s = PATIENCE_S
        self.answers: list[dict[str, Any]] = []
        self.messages: list[AbstractIncomingMessage] = []
        self._taken: set[int] = set()
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self.connection = await aio_pika.connect(self._url)
        self.channel = await self.connection.channel(publisher_confirms=True)
        self.queue = await self.channel.declare_queue(exclusive=True)
        await self.queue.consume(self._on_answer, no_ack=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    @property
    def reply_to(self) -> str:
        return self.queue.name

    async def _on_answer(self, message: AbstractIncomingMessage) -> None:
        async with self._arrived:
            self.answers.append(json.loads(message.body))
            self.messages.append(message)
            self._arrived.notify_all()

    async def send(self, body: bytes, *, partition: int = 0, **properties: Any) -> None:
        """Publish any bytes as a request, with the reply queue unless another (or None) is given."""
        properties.setdefault("reply_to", self.reply_to)
        exchange = await self.channel.get_exchange(f"{self.namespace}.requests", ensure=False)
        message = aio_pika.Message(body, delivery_mode=2, **properties)
        await exchange.publish(message, routing_key=str(partition))

    async def say(self, kind: str, conversation: str, *, partition: int = 0, **fields: Any) -> None:
        """Publish a well-formed message."""
        body = {"type": kind, "conversation_id": conversation, **fields}
        await self.send(json.dumps(body).encode(), partition=partition)

    async def request(self, conversation: str, request_id: str | None = None, **fields: Any) -> str:
        """Ask for a ticket, and give the request id."""
        request_id = request_id or uuid.uuid4().hex
        await self.say("request", conversation, request_id=request_id, **fields)
        return request_id

    async def expect(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """Wait for the next answer of this type with these fields; each answer is given once."""

        def find() -> int | None:
            for place, answer in enumerate(self.answers):
                fits = answer["type"] == kind and all(answer.get(name) == value for name, value in wanted.items())
                if fits and place not in self._taken:
                    return place
            return None

        async with self._arrived:
            try:
                async with asyncio.timeout(self.patience_s):
                    await self._arrived.wait_for(lambda: find() is not None)
            except TimeoutError:
                said = "\n".join(map(str, self.answers[-20:]))
                raise AssertionError(f"no {kind} with {wanted}; the last answers:\n{said}") from None
            place = find()
            assert place is not None
            self._taken.add(place)
            return self.answers[place]

    async def lock(self, conversation: str, **fields: Any) -> dict[str, Any]:
        """Ask, and wait for the grant."""
        request_id = await self.request(conversation, **fields)
        return await self.expect("granted", request_id=request_id)

    async def release(self, conversation: str, **fields: Any) -> None:
        await self.say("release", conversation, **fields)


async def dead_letters(bot: Bot, count: int) -> list[AbstractIncomingMessage]:
    """Take so many dead letters from their queue."""
    queue = await bot.channel.get_queue(f"{bot.namespace}.dead-letters", ensure=False)
    letters: list[AbstractIncomingMessage] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(letters) < count:
            letter = await queue.get(no_ack=True, fail=False)
            if letter is None:
                await asyncio.sleep(0.02)
            else:
                letters.append(letter)
    return letters
