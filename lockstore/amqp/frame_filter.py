"""A filter between the socket and aiormq's reader that makes frames influenced by publishers decodable, and bounds them.

aiormq reads frames from an `asyncio.StreamReader`, and closes the connection if one cannot be decoded. A FrameFilter
replaces that reader on one connection, and affects no other user of aiormq or pamqp in the process.
"""

import asyncio
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass

from lockstore.amqp.content_header import blank_header, readable

__all__ = ["FrameFilter"]

logger = logging.getLogger(__name__)

_FRAME = struct.Struct(">BHI")  # type, channel, size of the payload
_FRAME_END = b"\xce"
_METHOD, _HEADER, _BODY = 1, 2, 3
_HEARTBEAT = (
    _FRAME.pack(8, 0, 0) + _FRAME_END
)  # replaces dropped frames, so that aiormq still sees traffic from the broker

_TEXT_MAX = 255  # bytes of a short string

_DELIVER = bytes([0, 60, 0, 60])

# Methods that repeat a publisher's words: how many bytes stand before the first of their short strings, how many of
# these follow, whether a consumer tag stands before all that, and how many bytes stand behind it.
_TEXTS = {
    bytes([0, 10, 0, 50]): (2, 1, False, 4),  # Connection.Close
    bytes([0, 10, 0, 60]): (0, 1, False, 0),  # Connection.Blocked
    bytes([0, 20, 0, 40]): (2, 1, False, 4),  # Channel.Close
    bytes([0, 60, 0, 50]): (2, 3, False, 0),  # Basic.Return
    _DELIVER: (9, 2, True, 0),
    bytes([0, 60, 0, 71]): (9, 2, False, 4),  # Basic.GetOk
}


@dataclass(slots=True)
class _Screen:
    """Which deliveries of a channel are passed over, and never decoded."""

    is_unwanted: Callable[[bytes], bool]
    refuse: Callable[[int], None]
    method: bytes = b""  # of a delivery whose content header is not here yet
    given: bytes = b""  # what is given out for that
    left: int = 0  # bytes of a body that is passed over


class FrameFilter:
    """Reads frames and returns decodable ones, with the interface of a StreamReader.

    Of a body longer than `body_limit` bytes it returns only a prefix, and never keeps the rest in memory.
    Where such a frame still cannot be decoded, `substitute` returns another one in its place.
    """

    def __init__(self, reader: asyncio.StreamReader, body_limit: int) -> None:
        self._reader = reader
        self._body_limit = body_limit
        self._ready = b""
        self._offset = 0
        self._cuts: dict[int, int | None] = {}  # channel: bytes of the body still to return; None: all that arrive
        self._is_framed = True
        self._is_reading = False  # a frame that has not arrived whole
        self._last: tuple[int, int, bytes] = (0, 0, b"")  # the frame that was read last, as it came
        self._headers: dict[int, bytes] = {}  # by channel, the content header that was read last
        self._screens: dict[int, _Screen] = {}  # by channel

    @property
    def last_channel(self) -> int:
        """The channel of the frame that was read last."""
        return self._last[1]

    def last_header(self, channel: int) -> bytes:
        """Return the raw content header that was read last on a channel, or b""."""
        return self._headers.get(channel, b"")

    def screen(self, channel: int, is_unwanted: Callable[[bytes], bool], refuse: Callable[[int], None]) -> None:
        """Suppress deliveries on this channel whose content header is unwanted. `refuse` is called with the tag of each."""
        self._screens[channel] = _Screen(is_unwanted, refuse)

    def substitute(self, error: Exception) -> bytes | None:
        """Return a replacement for the last frame, which could not be decoded, or None if there is none.

        A content header has nothing left but a note of that, a method none of its texts.
        """
        kind, channel, payload = self._last
        if self._is_reading:  # the connection has ended; that frame was good
            return None
        if kind == _HEADER:
            written: bytes | None = blank_header(payload, self._body_limit)[0]
        else:
            written = _without_texts(payload) if kind == _METHOD else None
        if written is None:
            return None
        extra = {"code": "amqp.frame_unreadable", "reason": repr(error)}
        logger.warning("a frame could not be decoded, and was replaced by one that can: %r", error, extra=extra)
        return _frame(kind, channel, written)

    def at_eof(self) -> bool:
        """Return whether the stream has ended."""
        return self._offset == len(self._ready) and self._reader.at_eof()

    async def read(self, most: int = -1) -> bytes:
        """Return the rest of the current frame, or unfiltered data."""
        if self._offset == len(self._ready):
            return await self._reader.read(most)
        stop = len(self._ready) if most < 0 else self._offset + most
        given = self._ready[self._offset : stop]
        self._offset += len(given)
        return given

    async def readexactly(self, size: int) -> bytes:
        """Return exactly this many bytes. Raises IncompleteReadError at the end of the stream."""
        while len(self._ready) - self._offset < size:
            self._ready = self._ready[self._offset :] + await self._next()
            self._offset = 0
        start = self._offset
        self._offset += size
        return self._ready[start : self._offset]

    async def _next(self) -> bytes:
        """Read one frame, and return its replacement."""
        if not self._is_framed:
            return await self._reader.readexactly(1)
        self._is_reading = True
        head = await self._reader.readexactly(_FRAME.size)
        if head.startswith(b"AMQP"):  # a broker with another protocol version says so, and hangs up
            self._is_framed = False
            return head
        kind, channel, size = _FRAME.unpack(head)
        rest = await self._reader.readexactly(size + 1)
        self._is_reading = False
        payload = rest[:-1]
        self._last = (kind, channel, payload)
        if kind == _HEADER:
            self._headers[channel] = payload
        if channel in self._screens:
            return self._screened(kind, channel, payload, head + rest)
        return self._given(kind, channel, payload, head + rest)

    def _given(self, kind: int, channel: int, payload: bytes, frame: bytes) -> bytes:
        """Return what is passed on for a frame."""
        if kind == _BODY:
            written = self._kept_of(channel, payload)
        elif kind == _HEADER:
            written = self._readable(channel, payload)
        elif kind == _METHOD:
            written = _legible(payload)
        else:
            return frame
        if written is payload and payload:
            return frame
        return _frame(kind, channel, written) if written else _HEARTBEAT

    def _screened(self, kind: int, channel: int, payload: bytes, frame: bytes) -> bytes:
        """Do the same on a channel of which some deliveries are unwanted."""
        screen = self._screens[channel]
        if kind == _METHOD and payload[:4] == _DELIVER:
            screen.method, screen.given = payload, self._given(kind, channel, payload, frame)
            return _HEARTBEAT  # both frames are given out together
        if kind == _HEADER and screen.method:
            method, screen.method = screen.method, b""
            if not screen.is_unwanted(payload):
                return screen.given + self._given(kind, channel, payload, frame)
            screen.left = int.from_bytes(payload[4:12], "big")
            offset = 5 + method[4]
            screen.refuse(int.from_bytes(method[offset : offset + 8], "big"))
            return _HEARTBEAT
        if kind == _BODY and screen.left > 0:
            screen.left -= len(payload)
            return _HEARTBEAT
        return self._given(kind, channel, payload, frame)

    def _readable(self, channel: int, payload: bytes) -> bytes:
        try:
            written, self._cuts[channel] = readable(payload, self._body_limit)
        except Exception as error:  # noqa: BLE001 - what nobody thought of: only that message pays
            written, self._cuts[channel] = blank_header(payload, self._body_limit)
            logger.warning("a content header could not be read, and was blanked: %r", error)
        return written

    def _kept_of(self, channel: int, payload: bytes) -> bytes:
        cut = self._cuts.get(channel)
        if cut is None:
            return payload
        self._cuts[channel] = max(0, cut - len(payload))
        return payload[:cut]


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _FRAME_END


def _legible(method: bytes) -> bytes:
    """Return a method frame with valid UTF-8 strings: unchanged if they are valid."""
    place = _TEXTS.get(method[:4])
    if place is None:
        return method
    skipped, count, has_tag, _ = place
    try:
        offset = 4 + skipped + (1 + method[4] if has_tag else 0)
        return _legible_from(method, offset, count)
    except Exception:  # noqa: BLE001 - not the method that it says it is, or what nobody thought of: let pamqp judge
        return method


def _without_texts(method: bytes) -> bytes | None:
    """Return a method with its texts emptied, or None if it has none that a publisher controls, or is truncated."""
    place = _TEXTS.get(method[:4])
    if place is None or len(method) < 5:  # noqa: PLR2004 - the length of a consumer tag
        return None
    skipped, count, has_tag, behind = place
    offset = 4 + skipped + (1 + method[4] if has_tag else 0)
    if offset + count + behind > len(method):
        return None
    return method[:offset] + bytes(count) + method[len(method) - behind :]


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
