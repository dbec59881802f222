"""Between the socket and aiormq's reader: every frame that a publisher has a hand in is made readable, and bounded.

aiormq reads frames from an `asyncio.StreamReader`, and ends the connection when one cannot be decoded. A FrameFilter stands in
that reader's place. It is given to one connection and changes nothing for other users of aiormq or pamqp in the process.
"""

import asyncio
import struct

from lockstore.amqp.content_header import readable

__all__ = ["FrameFilter"]

_FRAME = struct.Struct(">BHI")  # type, channel, size of the payload
_FRAME_END = b"\xce"
_METHOD, _HEADER, _BODY = 1, 2, 3
_HEARTBEAT = _FRAME.pack(8, 0, 0) + _FRAME_END  # in place of what is dropped: aiormq must hear that the broker is there

_TEXT_MAX = 255  # bytes of a short string

# Methods that repeat a publisher's words: how many bytes stand before the first of their short strings, how many of
# these follow, and whether a consumer tag stands before all that.
_TEXTS = {
    bytes([0, 10, 0, 50]): (2, 1, False),  # Connection.Close
    bytes([0, 10, 0, 60]): (0, 1, False),  # Connection.Blocked
    bytes([0, 20, 0, 40]): (2, 1, False),  # Channel.Close
    bytes([0, 60, 0, 50]): (2, 3, False),  # Basic.Return
    bytes([0, 60, 0, 60]): (9, 2, True),  # Basic.Deliver
    bytes([0, 60, 0, 71]): (9, 2, False),  # Basic.GetOk
}


class FrameFilter:
    """Reads frames, and gives them out as the StreamReader would, each of them readable.

    Of a body of more than `body_limit` bytes it gives out only a prefix; the rest is never held.
    """

    def __init__(self, reader: asyncio.StreamReader, body_limit: int) -> None:
        self._reader = reader
        self._body_limit = body_limit
        self._ready = b""
        self._offset = 0
        self._cuts: dict[int, int | None] = {}  # channel: bytes of the body still to be given out; None: all that come
        self._is_framed = True

    def at_eof(self) -> bool:
        """Tell whether nothing more will come."""
        return self._offset == len(self._ready) and self._reader.at_eof()

    async def read(self, most: int = -1) -> bytes:
        """Give what is here of a frame, or whatever comes, unfiltered."""
        if self._offset == len(self._ready):
            return await self._reader.read(most)
        stop = len(self._ready) if most < 0 else self._offset + most
        given = self._ready[self._offset : stop]
        self._offset += len(given)
        return given

    async def readexactly(self, size: int) -> bytes:
        """Give that many bytes. Raises IncompleteReadError at the end of the stream."""
        while len(self._ready) - self._offset < size:
            self._ready = self._ready[self._offset :] + await self._next()
            self._offset = 0
        start = self._offset
        self._offset += size
        return self._ready[start : self._offset]

    async def _next(self) -> bytes:
        """Read one frame, and give what is to be given out for it."""
        if not self._is_framed:
            return await self._reader.readexactly(1)
        head = await self._reader.readexactly(_FRAME.size)
        if head.startswith(b"AMQP"):  # a broker that speaks another version says so, and hangs up
            self._is_framed = False
            return head
        kind, channel, size = _FRAME.unpack(head)
        rest = await self._reader.readexactly(size + 1)
        payload = rest[:-1]
        if kind == _BODY:
            written = self._kept_of(channel, payload)
        elif kind == _HEADER:
            written, cut = readable(payload, self._body_limit)
            self._cuts[channel] = cut
        elif kind == _METHOD:
            written = _legible(payload)
        else:
            return head + rest
        if written is payload and size:
            return head + rest
        return _frame(kind, channel, written) if written else _HEARTBEAT

    def _kept_of(self, channel: int, payload: bytes) -> bytes:
        cut = self._cuts.get(channel)
        if cut is None:
            return payload
        self._cuts[channel] = max(0, cut - len(payload))
        return payload[:cut]


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _FRAME_END


def _legible(method: bytes) -> bytes:
    """Give a method whose texts are UTF-8: itself, if they are."""
    place = _TEXTS.get(method[:4])
    if place is None:
        return method
    skipped, count, has_tag = place
    offset = 4 + skipped
    try:
        if has_tag:
            offset += 1 + method[4]
        return _legible_from(method, offset, count)
    except IndexError:
        return method  # not the method that it says it is: let pamqp judge


def _legible_from(method: bytes, offset: int, count: int) -> bytes:
    start, texts, is_sound = offset, [], True
    for _ in range(count):
        stop = offset + 1 + method[offset]
        text = method[offset + 1 : stop]
        try:
            text.decode()
        except UnicodeDecodeError:
            is_sound = False
            text = text.decode("ascii", "backslashreplace")[:_TEXT_MAX].encode()
        texts.append(bytes([len(text)]) + text)
        offset = stop
    return method if is_sound else method[:start] + b"".join(texts) + method[offset:]
