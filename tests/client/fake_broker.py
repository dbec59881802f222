"""A broker and a daemon inside the test's own event loop: every step of the network is one step of the loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from lockstore.client.outbound import OutboundMessage
from lockstore.errors import BrokerLostError

STORE_CLOCK = 1_000_000_000.0
_HOPS = 2  # steps from one end of the wire to the other


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def after(count: int, what: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(after, count - 1, what) if count else what()


class FakeConnection:
    """What `open_connection` gives."""

    def __init__(self, broker: "FakeBroker", number: int, on_reply: Callable[[DeliveredMessage], None]) -> None:
        self.number = number
        self.node = "fake:5672"
        self.unseen: str | None = None
        self.ended = asyncio.Event()
        self.is_lost = asyncio.Event()
        self.on_reply = on_reply
        self._broker = broker

    async def publish(self, letter: OutboundMessage, routes: object, limit_s: float | None = None) -> None:
        if self.is_lost.is_set():
            raise BrokerLostError("the connection is lost")
        # What is written goes its way, whatever becomes of the task that wrote it.
        after(_HOPS, lambda: self._broker.take(json.loads(letter.body), letter.name, self))
        for _ in range(2 * _HOPS):
            await asyncio.sleep(0)
            if self.is_lost.is_set():
                raise BrokerLostError("the connection is lost")

    def mark_failed(self) -> None:
        self.is_lost.set()

    async def over(self) -> None:
        await self.is_lost.wait()


class FakeBroker:
    """One line for all; it answers as a daemon does. Put `open` in the place of `open_connection`."""

    def __init__(self) -> None:
        self.line: list[str] = []  # request ids; the first one holds
        self.over: dict[str, str] = {}
        self.current: FakeConnection | None = None
        self.lease_s = 60.0
        self.is_silent = False  # grants and renews nothing any more
        self._tickets: dict[str, tuple[int, dict[str, Any], FakeConnection | None]] = {}
        self._granted: set[str] = set()

    @asynccontextmanager
    async def open(self, number: int, hosts: object, names: object, on_reply: Any) -> AsyncIterator[Any]:
        await steps(3)
        self.current = connection = FakeConnection(self, number, on_reply)
        try:
            yield connection
        finally:
            connection.is_lost.set()
            await steps(2)

    def occupy(self) -> Callable[[], None]:
        """Let a stranger hold the lock, until what is given back is called."""
        self.take({"type": "request", "request_id": "stranger", "conversation_id": "talk"}, "stranger", None)
        return lambda: self._end("stranger", "released")

    def take(self, message: dict[str, Any], name: str, to: FakeConnection | None) -> None:
        request_id = message["request_id"]
        match message["type"]:
            case "request" if request_id in self.over:
                how = self.over[request_id]
                self._say(to, name, message, "rejected", reason="finished", detail="over", ended=how)
            case "request":
                if request_id not in self._tickets:
                    self.line.append(request_id)
                number = self._tickets.get(request_id, (len(self._tickets) + 1,))[0]
                self._tickets[request_id] = (number, message, to)
                self._granted.discard(request_id)
                self._serve()
            case "release" if request_id in self.line:
                self._end(request_id, "released")
            case "release":
                self.over.setdefault(request_id, "cancelled")
            case "renew" if not self.is_silent:
                self._say(to, name, message, "renewed", expires_at=STORE_CLOCK + self.lease_s)

    def _end(self, request_id: str, how: str) -> None:
        if request_id in self.line:
            self.line.remove(request_id)
        self.over[request_id] = how
        self._serve()

    def _serve(self) -> None:
        if self.line and self.line[0] not in self._granted:
            request_id = self.line[0]
            self._granted.add(request_id)
            number, message, to = self._tickets[request_id]
            if to is not None and to.is_lost.is_set():
                self._end(request_id, "cancelled")  # nobody is there to hear it
                return
            lease = {"expires_at": STORE_CLOCK + self.lease_s, "waited": 0.0, "behind": 0, "ticket_number": number}
            self._say(to, request_id, message, "granted", **lease)

    def _say(self, to: FakeConnection | None, name: str, about: dict[str, Any], kind: str, **fields: Any) -> None:
        if to is None:
            return
        common = {name: about.get(name) for name in ("conversation_id", "request_id", "ticket_number", "holder")}
        body = json.dumps({"type": kind, **common, "at": STORE_CLOCK, **fields}).encode()
        header = ContentHeader(properties=Basic.Properties(correlation_id=name, message_type=kind))
        message = DeliveredMessage(Basic.Deliver("tag", 1), header, body, cast("AbstractChannel", None))
        after(_HOPS, lambda: None if to.is_lost.is_set() else to.on_reply(message))
