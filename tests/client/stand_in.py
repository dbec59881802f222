"""A daemon played by the test: it declares what a daemon declares, and says only what the test tells it to."""

import asyncio
import json
import uuid
from dataclasses import dataclass
from typing import Any, Self

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

LIMIT_S = 60.0  # for what the client should do at once; a busy machine takes its time


@dataclass(frozen=True)
class Received:
    """A message of the client's."""

    fields: dict[str, Any]
    properties: Basic.Properties
    partition: str

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


class StandIn:
    """`take` the client's next message of a type, `say` something to it. Its clock has nothing to do with any other."""

    def __init__(self, url: str, namespace: str, partitions: int = 1, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._url = url
        self.namespace = namespace
        self._partitions = partitions
        self._received: asyncio.Queue[Received] = asyncio.Queue()
        self._put_aside: list[Received] = []
        self._connection: AbstractConnection
        self._channel: AbstractChannel

    async def __aenter__(self) -> Self:
        self._connection = await aiormq.connect(self._url)
        self._channel = channel = await self._connection.channel()
        requests = f"{self.namespace}.requests"
        await channel.exchange_declare(f"{self.namespace}.events", exchange_type="topic", durable=True)
        await channel.exchange_declare(requests, exchange_type="direct", durable=True)
        for partition in range(self._partitions):
            queue = f"{requests}.{partition}"
            await channel.queue_declare(queue, durable=True)
            await channel.queue_bind(queue, requests, str(partition))
            await channel.basic_consume(queue, self._take_in, no_ack=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for partition in range(self._partitions):
            await self._channel.queue_delete(f"{self.namespace}.requests.{partition}")
        await self._channel.exchange_delete(f"{self.namespace}.requests")
        await self._channel.exchange_delete(f"{self.namespace}.events")
        await self._connection.close()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() + 1_000_000_000

    async def take(self, kind: str) -> Received:
        """Give the next message of a type; others are kept for later."""
        for received in self._put_aside:
            if received["type"] == kind:
                self._put_aside.remove(received)
                return received
        async with asyncio.timeout(self._limit_s):
            while (received := await self._received.get())["type"] != kind:
                self._put_aside.append(received)
        return received

    def untaken(self, kind: str) -> list[Received]:
        """Give what has come of a type and was not taken."""
        while not self._received.empty():
            self._put_aside.append(self._received.get_nowait())
        return [received for received in self._put_aside if received["type"] == kind]

    async def say(self, to: Received, kind: str, **fields: Any) -> None:
        """Answer a message."""
        assert to.properties.reply_to
        await self._publish("", to.properties.reply_to, kind, to, fields)

    async def announce(self, kind: str, conversation_id: str, message_id: str | None = None, **fields: Any) -> None:
        """Tell the public."""
        about = Received({"conversation_id": conversation_id, "request_id": "r"}, Basic.Properties(), "")
        key = f"{kind}.{conversation_id}"
        await self._publish(f"{self.namespace}.events", key, kind, about, {"message_id": message_id, **fields})

    async def grant(self, to: Received, number: int = 7, lease: float = 60) -> float:
        """Grant a lease from now on, and give its end."""
        at = self.now
        await self.say(to, "granted", ticket_number=number, at=at, expires_at=at + lease, waited=0.0, behind=0)
        return at + lease

    async def renew(self, to: Received, lease: float = 60) -> float:
        """Extend a lease from now on, and give its end."""
        at = self.now
        await self.say(to, "renewed", at=at, expires_at=at + lease)
        return at + lease

    async def _publish(self, exchange: str, key: str, kind: str, about: Received, fields: dict[str, Any]) -> None:
        message_id = fields.pop("message_id", None) or uuid.uuid4().hex
        body = {
            "type": kind,
            "conversation_id": about["conversation_id"],
            "request_id": about.fields.get("request_id"),
            "ticket_number": about.fields.get("ticket_number"),
            "holder": about.fields.get("holder"),
            "at": self.now,
            **fields,
        }
        properties = Basic.Properties(
            message_id=message_id, correlation_id=about.properties.correlation_id, message_type=kind
        )
        await self._channel.basic_publish(
            json.dumps(body).encode(), exchange=exchange, routing_key=key, properties=properties
        )

    async def _take_in(self, message: DeliveredMessage) -> None:
        fields = json.loads(message.body)
        self._received.put_nowait(Received(fields, message.header.properties, message.routing_key or ""))
