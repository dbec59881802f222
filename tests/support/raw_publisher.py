"""A publisher that writes frames byte by byte, so that it can send what no AMQP library would."""

import asyncio
import struct
from typing import Self
from urllib.parse import unquote, urlsplit

PATIENCE_S = 20.0

HEADERS, CORRELATION_ID, REPLY_TO, MESSAGE_ID, TIMESTAMP = 0x2000, 0x0400, 0x0200, 0x0080, 0x0040
CONTENT_TYPE, CONTENT_ENCODING, TYPE, APP_ID, CLUSTER_ID = 0x8000, 0x4000, 0x0020, 0x0008, 0x0004
PRIORITY = 0x0800


class BrokerRefusedError(Exception):
    """The broker closed the channel or the connection rather than take the message."""


def short(text: bytes) -> bytes:
    """Write a short string."""
    return bytes([len(text)]) + text


def long(value: bytes) -> bytes:
    """Put its length of four bytes before a value."""
    return struct.pack(">I", len(value)) + value


def field(name: bytes, kind: bytes, value: bytes) -> bytes:
    """Write a field of a table: its name, its type, its value as it stands on the wire."""
    return short(name) + kind + value


def nested(depth: int, kind: bytes = b"F") -> bytes:
    """Write a value that holds itself `depth` times."""
    value = b"V"
    for _ in range(depth):
        value = kind + long((short(b"k") if kind == b"F" else b"") + value)
    return value


class RawPublisher:
    """One connection, one channel with confirms. What the broker refuses ends it; `open` a new one."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def open(self) -> None:
        """Connect, and open a channel with confirms."""
        self._reader, self._writer = await asyncio.open_connection(self._url.hostname, self._url.port or 5672)
        self._writer.write(b"AMQP\0\0\x09\x01")
        await self._expect(10, 10)
        login = b"\0%s\0%s" % (_unquoted(self._url.username), _unquoted(self._url.password))
        self._method(0, 10, 11, long(b"") + short(b"PLAIN") + long(login) + short(b"en_US"))
        channel_max, frame_max, _ = struct.unpack(">HIH", (await self._expect(10, 30))[:8])
        self.frame_max = frame_max
        self._method(0, 10, 31, struct.pack(">HIH", channel_max, frame_max, 0))
        self._method(0, 10, 40, short(_unquoted(self._url.path[1:]) or b"/") + short(b"") + b"\0")
        await self._expect(10, 41)
        self._method(1, 20, 10, short(b""))
        await self._expect(20, 11)
        self._method(1, 85, 10, b"\0")
        await self._expect(85, 11)

    async def publish(self, exchange: str, routing_key: bytes, body: bytes, properties: dict[int, bytes]) -> None:
        """Send a message, each property by its flag and as it stands on the wire. Raises BrokerRefusedError.

        It waits until the broker has the message.
        """
        values = b"".join(properties[flag] for flag in sorted(properties, reverse=True))
        await self.publish_header(exchange, routing_key, body, struct.pack(">H", sum(properties)) + values)

    async def publish_header(self, exchange: str, routing_key: bytes, body: bytes, rest_of_header: bytes) -> None:
        """Do the same with any bytes after the body's size."""
        self._method(1, 60, 40, b"\0\0" + short(exchange.encode()) + short(routing_key) + b"\0")
        self._frame(2, 1, struct.pack(">HHQ", 60, 0, len(body)) + rest_of_header)
        most = self.frame_max - 8
        for start in range(0, len(body), most):
            self._frame(3, 1, body[start : start + most])
        await self._writer.drain()
        await self._expect(60, 80)

    def _method(self, channel: int, kind: int, method: int, arguments: bytes) -> None:
        self._frame(1, channel, struct.pack(">HH", kind, method) + arguments)

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        self._writer.write(struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")

    async def _expect(self, kind: int, method: int) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    head = await self._reader.readexactly(7)
                    payload = (await self._reader.readexactly(struct.unpack(">I", head[3:])[0] + 1))[:-1]
                    if head[0] == 1:
                        break
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise BrokerRefusedError(repr(error)) from None
        found = struct.unpack(">HH", payload[:4])
        if found != (kind, method):
            raise BrokerRefusedError(f"{found}: {payload[4:]!r}")
        return payload[4:]


def _unquoted(text: str | None) -> bytes:
    return unquote(text or "").encode()
