"""A sender that RabbitMQ lets in, and that sends whatever harms: one message of each kind, again and again."""

import asyncio
import json
import struct
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any, Self

from tests.support.bot import Bot
from tests.support.raw_publisher import (
    APP_ID,
    CONTENT_ENCODING,
    CORRELATION_ID,
    HEADERS,
    MESSAGE_ID,
    REPLY_TO,
    TIMESTAMP,
    BrokerRefusedError,
    RawPublisher,
    long,
    nested,
    short,
)
from tests.support.raw_publisher import (
    field as header,
)

PREFIX = "hostile-"
"""How the conversations of these messages begin; the innocent use others."""

EVERY_S = 1.0

Properties = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it stands on the wire; with `answered`, its reply queue is one that the sender listens to."""

    body: bytes
    properties: Properties = field(default_factory=dict)
    copies: int = 1


def _request(number: int, **fields: Any) -> bytes:
    message = {"type": "request", "conversation_id": f"{PREFIX}{number % 7}", "request_id": uuid.uuid4().hex, "wait": 1}
    return json.dumps({**message, "lifetime": 0.2, **fields}).encode()


def _table(*fields: bytes) -> bytes:
    return long(b"".join(fields))


def _kinds(reply_to: bytes, full: bytes) -> dict[str, Callable[[int], Letter]]:
    """Give a maker of messages for each kind; `full` is a queue that refuses what comes."""
    answered = {REPLY_TO: short(reply_to)}
    gone = {REPLY_TO: short(b"nobody-" + uuid.uuid4().hex.encode())}
    bad = b"{"
    return {
        # properties that cannot be read
        "timestamp in microseconds": lambda n: Letter(
            _request(n), {TIMESTAMP: struct.pack(">Q", 1_700_000_000_000_000)}
        ),
        "timestamp of all ones": lambda n: Letter(_request(n), {**answered, TIMESTAMP: b"\xff" * 8}),
        "app_id not UTF-8": lambda n: Letter(_request(n), {**answered, APP_ID: short(b"\xff\xfe")}),
        "message_id not UTF-8": lambda n: Letter(_request(n), {**answered, MESSAGE_ID: short(b"\xc3\x28")}),
        "correlation_id not UTF-8": lambda n: Letter(_request(n), {**answered, CORRELATION_ID: short(b"\xf0\x9f")}),
        "header's name not UTF-8": lambda n: Letter(
            _request(n), {HEADERS: _table(header(b"\xff", b"V", b"")), **answered}
        ),
        "header's text not UTF-8": lambda n: Letter(
            _request(n), {HEADERS: _table(header(b"traceparent", b"S", long(b"\xe9\xe9"))), **answered}
        ),
        "header with a late time": lambda n: Letter(
            _request(n), {HEADERS: _table(header(b"t", b"T", struct.pack(">Q", 2**62))), **answered}
        ),
        "headers nested deep": lambda n: Letter(_request(n), {HEADERS: _table(header(b"n", b"F", nested(500)[1:]))}),
        # properties that cannot be written back
        "parked with 1e300": lambda n: Letter(bad, {HEADERS: _table(header(b"d", b"d", struct.pack(">d", 1e300)))}),
        "parked with a decimal": lambda n: Letter(bad, {HEADERS: _table(header(b"D", b"D", b"\xff\x7f\xff\xff\xff"))}),
        "parked with bytes": lambda n: Letter(bad, {HEADERS: _table(header(b"x", b"x", long(b"\0\xff")))}),
        "parked with a big header": lambda n: Letter(bad, {HEADERS: _table(header(b"b", b"S", long(b"x" * 100_000)))}),
        # bodies
        "no JSON": lambda n: Letter(b"\x00\x01\x02", answered),
        "nothing at all": lambda n: Letter(b"", answered),
        "JSON nested deep": lambda n: Letter(b"[" * 50_000, answered),
        "a lone surrogate": lambda n: Letter(_request(n, holder="\ud800"), answered),
        "too large": lambda n: Letter(b" " * 200_000, answered),
        "very large": lambda n: Letter(b"x" * 3_000_000),
        "a number with 5,000 digits": lambda n: Letter(_request(n)[:-1] + b', "wait": ' + b"9" * 5000 + b"}", answered),
        "compressed, it says": lambda n: Letter(_request(n), {CONTENT_ENCODING: short(b"gzip"), **answered}),
        # what becomes a name on the broker
        "a request id of 256 bytes": lambda n: Letter(_request(n, request_id="\U0001f600" * 64), answered),
        "a correlation id of 255 bytes": lambda n: Letter(_request(n), {**answered, CORRELATION_ID: short(b"c" * 255)}),
        # lawful, with somebody to answer who is not there
        "a dead waiter, asking twice": lambda n: Letter(_request(n, request_id=f"twice-{n}"), gone, copies=2),
        "a reply queue that refuses": lambda n: Letter(_request(n), {REPLY_TO: short(full)}),
        "a release of nothing": lambda n: Letter(
            json.dumps({"type": "release", "conversation_id": f"{PREFIX}x", "ticket_number": n}).encode(), answered
        ),
    }


@dataclass(slots=True)
class Turn:
    """A time in which the sender sent, or rested."""

    is_hostile: bool
    from_s: float
    until_s: float = inf

    @property
    def seconds(self) -> float:
        return self.until_s - self.from_s


class HostileSender:
    """Sends one message of each kind each second, over connections of its own."""

    def __init__(self, url: str, namespace: str, partitions: int, turn_s: float | None = None) -> None:
        """With `turn_s` it sends and rests by turns of so many seconds, half a turn of rest first; else it sends all the while."""
        self._url = url
        self._turn_s = turn_s
        self.turns: list[Turn] = []
        self._namespace = namespace
        self._partitions = partitions
        self.sent: Counter[str] = Counter()
        self.not_taken: Counter[str] = Counter()  # RabbitMQ itself refuses these: they harm nobody
        self._bot = Bot(url, namespace)
        self._raw = RawPublisher(url)

    async def __aenter__(self) -> Self:
        await self._bot.__aenter__()
        full = await self._bot.channel.declare_queue(
            exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await self._bot.channel.default_exchange.publish(_filler(), routing_key=full.name)
        await self._raw.open()
        self._makers = _kinds(self._bot.reply_to.encode(), full.name.encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._raw.__aexit__()
        await self._bot.__aexit__()

    @property
    def kinds(self) -> int:
        """How many kinds there are."""
        return len(self._makers)

    @property
    def answers(self) -> int:
        """How many answers came."""
        return len(self._bot.answers)

    async def run(self, over: asyncio.Event) -> None:
        """Send until it is over."""
        number = 0
        began = time.monotonic()
        self.turns = [Turn(is_hostile=self._turn_s is None, from_s=began)]
        pause_s = EVERY_S / len(self._makers)
        while not over.is_set():
            number += 1
            for kind, make in self._makers.items():
                if self._sends_now(began):
                    await self._send(kind, make(number), number)
                await asyncio.sleep(pause_s)
        self.turns[-1].until_s = time.monotonic()

    def _sends_now(self, began: float) -> bool:
        """Tell whether it is a turn to send, and note when turns begin."""
        now = time.monotonic()
        if self._turn_s is not None and int((now - began) / self._turn_s + 0.5) >= len(self.turns):
            self.turns[-1].until_s = now
            self.turns.append(Turn(is_hostile=not self.turns[-1].is_hostile, from_s=now))
        return self.turns[-1].is_hostile

    async def _send(self, kind: str, letter: Letter, number: int) -> None:
        key = str(number % self._partitions).encode()
        for _ in range(letter.copies):
            try:
                await self._raw.publish(f"{self._namespace}.requests", key, letter.body, letter.properties)
            except BrokerRefusedError:
                self.not_taken[kind] += 1
                await self._raw.__aexit__()
                await self._raw.open()
            else:
                self.sent[kind] += 1


def _filler() -> Any:
    from aio_pika import Message

    return Message(b"full")
