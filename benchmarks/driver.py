"""Someone who asks a daemon for locks as fast as it answers, at little cost of its own: what several benchmarks share."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, cast

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from daemon.config.settings import BrokerSettings
from lockstore.amqp.publisher import Outgoing, Publisher
from lockstore.protocol.naming import partition_of

if TYPE_CHECKING:
    from aiormq.channel import Channel

__all__ = ["Driver"]

NAMES = BrokerSettings().names
_BATCH_MOST = 200  # messages of one write


class Driver:
    """One connection, which speaks the wire protocol and knows an answer by its AMQP properties alone."""

    def __init__(self, url: str, partitions: int = 1) -> None:
        self._url = url
        self._partitions = partitions
        self._out: list[Outgoing] = []
        self._stir = asyncio.Event()
        self._heard: dict[tuple[str, str], asyncio.Future[float]] = {}

    async def __aenter__(self) -> Self:
        self._connection = await aiormq.connect(self._url)
        self._channel = cast("Channel", await self._connection.channel())
        declared = await self._channel.queue_declare(exclusive=True)
        self._reply_to = declared.queue or ""
        await self._channel.basic_consume(self._reply_to, self._on_reply, no_ack=True)
        self._flushing = asyncio.create_task(self._flush())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flushing.cancel()
        await asyncio.gather(self._flushing, return_exceptions=True)
        await self._connection.close()

    def say(self, kind: str, conversation: str, request_id: str, more: str = "") -> None:
        """Publish a request or a release, together with what else is said in this turn of the event loop."""
        body = f'{{"type":"{kind}","conversation_id":"{conversation}","request_id":"{request_id}"{more}}}'
        properties = Basic.Properties(delivery_mode=2, reply_to=self._reply_to, correlation_id=request_id)
        properties.message_id = f"{request_id}/{kind}"
        partition = str(partition_of(conversation, self._partitions))
        self._out.append(Outgoing(body.encode(), properties, partition, NAMES.requests, mandatory=True))
        self._stir.set()

    def echo(self, queue: str, request_id: str) -> None:
        """Publish to an echo worker's queue; the answer is awaited as `echo`."""
        properties = Basic.Properties(delivery_mode=2, reply_to=self._reply_to, correlation_id=request_id)
        properties.message_id = f"{request_id}/echo"
        body = b'{"type":"release","conversation_id":"contended","ticket_number":1000,"request_id":"0123456789abcdef"}'
        self._out.append(Outgoing(body, properties, queue, mandatory=True))
        self._stir.set()

    def answer(self, kind: str, request_id: str) -> asyncio.Future[float]:
        """Give a future for an answer: the moment of its arrival, on this process's monotonic clock in seconds."""
        return self._heard.setdefault((kind, request_id), asyncio.get_running_loop().create_future())

    async def wait(self, kind: str, request_id: str) -> float:
        """Wait for an answer."""
        try:
            return await self.answer(kind, request_id)
        finally:
            self._heard.pop((kind, request_id), None)

    async def ask(
        self, conversation: str, request_ids: Sequence[str], more: str = ',"lifetime":3600,"wait":3600'
    ) -> None:
        """Ask for tickets, and wait until each is in line or granted."""
        firsts = [asyncio.ensure_future(self._first(request_id)) for request_id in request_ids]
        for request_id in request_ids:
            self.say("request", conversation, request_id, more)
        await asyncio.gather(*firsts)

    async def _first(self, request_id: str) -> None:
        granted, queued = self.answer("granted", request_id), self.answer("queued", request_id)
        await asyncio.wait({granted, queued}, return_when=asyncio.FIRST_COMPLETED)
        self._heard.pop(("queued", request_id), None)

    async def cycle(self, conversation: str, request_id: str) -> None:
        """Take the lock of a conversation and give it back, and wait until that is told."""
        self.say("request", conversation, request_id)
        await self.wait("granted", request_id)
        self.say("release", conversation, request_id)
        await self.wait("released", request_id)

    async def _on_reply(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        # The echo worker keeps no type; whatever it answers is an echo.
        key = (properties.message_type or "echo", properties.correlation_id or "")
        future = self._heard.get(key)
        if future is not None and not future.done():
            future.set_result(time.perf_counter())

    async def _flush(self) -> None:
        publisher = Publisher(self._channel)
        while True:
            await self._stir.wait()
            self._stir.clear()
            while self._out:
                out, self._out = self._out[:_BATCH_MOST], self._out[_BATCH_MOST:]
                await publisher.send(out)
