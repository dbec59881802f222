"""Tolerant decoding of AMQP content headers: a message can be read whatever its publisher put into the header. Pure.

pamqp raises on property values that RabbitMQ accepts and delivers, which ends aiormq's reader. `readable` removes from a
content header what pamqp cannot decode, and records it in the header itself. Such a header is marked in its field `weight`,
which brokers always send as zero, so no publisher can forge it.
"""

import struct
from dataclasses import dataclass

from pamqp.header import ContentHeader

from lockstore.amqp.field_table import CutShortError, UnreadableError, check_text, check_value, readable_fields

__all__ = ["PREFIX_BYTES", "Notes", "blank_header", "readable", "take_notes"]

PREFIX_BYTES = 4096
"""How much of an oversized body is kept."""

_FIXED = struct.Struct(">HHQ")  # class, weight, body size
_BASIC = 60
_MARKED = 1
_NOTES_MAX = 16
_UNREADABLE = "x-lockstore-unreadable"
_BODY_SIZE = "x-lockstore-body-size"
_RESERVED = {_UNREADABLE.encode(), _BODY_SIZE.encode()}

_HEADERS = 0x2000
_TIMESTAMP = 0x0040
_PROPERTIES = (
    (0x8000, "content_type", "string"),
    (0x4000, "content_encoding", "string"),
    (_HEADERS, "headers", "table"),
    (0x1000, "delivery_mode", "octet"),
    (0x0800, "priority", "octet"),
    (0x0400, "correlation_id", "string"),
    (0x0200, "reply_to", "string"),
    (0x0100, "expiration", "string"),
    (0x0080, "message_id", "string"),
    (_TIMESTAMP, "timestamp", "timestamp"),
    (0x0020, "type", "string"),
    (0x0010, "user_id", "string"),
    (0x0008, "app_id", "string"),
    (0x0004, "cluster_id", "string"),
)


_PLAIN_KINDS = tuple((flag, kind == "string") for flag, _, kind in _PROPERTIES if kind in ("string", "octet"))
_PLAIN = sum(flag for flag, _ in _PLAIN_KINDS)


@dataclass(frozen=True, slots=True)
class Notes:
    """What could not be decoded of a message."""

    unreadable: tuple[str, ...] = ()  # "timestamp: out of range"
    body_size: int | None = None  # bytes; None: the body is complete


_NOTHING = Notes()


def readable(payload: bytes, body_limit: int) -> tuple[bytes, int | None]:
    """Return a content header that pamqp can decode, and the body size to read; None: the whole body.

    Never raises. If there is nothing to record, the payload itself is returned.
    """
    class_id, weight, body_size = _fixed(payload)
    cut = _cut(body_size, body_limit)
    announced = body_size if cut is None else cut
    original_size = None if cut is None else body_size
    if cut is None and not weight and _is_plain(payload):
        return payload, None
    unreadable: list[str] = []
    written = payload
    try:
        flags, parts, table = _properties(payload, unreadable)
        if unreadable or cut is not None or weight or _is_continued(payload):
            written = _write(class_id, announced, flags, parts, table, Notes(tuple(unreadable), original_size))
        ContentHeader().unmarshal(written)
    except Exception:  # noqa: BLE001 - an unexpected error in one header must affect only its message
        return blank_header(payload, body_limit)
    return written, cut


def blank_header(payload: bytes, body_limit: int) -> tuple[bytes, int | None]:
    """Return, as `readable` does, a header that only says that it could not be read. No property is decoded."""
    body_size = _fixed(payload)[2]
    cut = _cut(body_size, body_limit)
    notes = Notes(("properties: cannot be read",), None if cut is None else body_size)
    return _write(_BASIC, body_size if cut is None else cut, 0, [], b"", notes), cut


def _fixed(payload: bytes) -> tuple[int, int, int]:
    class_id, weight, body_size = _FIXED.unpack(payload[: _FIXED.size].ljust(_FIXED.size, b"\0"))
    return class_id, weight, body_size


def _cut(body_size: int, body_limit: int) -> int | None:
    return None if body_size <= body_limit else min(PREFIX_BYTES, body_limit)


def _is_continued(payload: bytes) -> bool:
    """Return whether further flag words follow the first, even if they are empty: pamqp 3 reads them without end."""
    return bool(payload[_FIXED.size + 1] & 1)


def _is_plain(payload: bytes) -> bool:
    """Return quickly whether there are only ASCII strings and octets, as in nearly all messages."""
    flags, offset = int.from_bytes(payload[12:14], "big"), 14
    if flags & ~_PLAIN or len(payload) < offset:
        return False
    for flag, is_text in _PLAIN_KINDS:
        if flags & flag:
            length = payload[offset] + 1 if is_text and offset < len(payload) else 1
            if offset + length > len(payload) or not payload[offset + 1 : offset + length].isascii():
                return False
            offset += length
    return True


def take_notes(header: ContentHeader) -> Notes:
    """Extract the notes from a decoded header written by `readable`."""
    if header.weight != _MARKED:
        return _NOTHING
    header.weight = 0
    headers = header.properties.headers or {}
    unreadable, body_size = headers.pop(_UNREADABLE, []), headers.pop(_BODY_SIZE, None)
    header.properties.headers = headers or None
    assert isinstance(unreadable, list)  # noqa: S101 - `readable` wrote it
    assert body_size is None or isinstance(body_size, int)  # noqa: S101 - likewise
    return Notes(tuple(map(str, unreadable)), body_size)


def _properties(payload: bytes, unreadable: list[str]) -> tuple[int, list[tuple[int, bytes]], bytes]:
    """Split the properties: the flags of the readable ones, their bytes, and the fields of the headers."""
    given, offset = _flags(payload, unreadable)
    flags, parts, table = 0, [], b""
    for flag, name, kind in _PROPERTIES:
        if not given & flag:
            continue
        try:
            stop = _end(payload, offset, kind)
        except CutShortError as error:
            unreadable.append(f"{name}: {error}, so the following ones cannot be located")
            break
        value = payload[offset:stop]
        offset = stop
        if kind == "table":
            table = readable_fields(value, unreadable, _RESERVED)
            flags |= flag
            continue
        try:
            _check_property(value, kind)
        except UnreadableError as error:
            unreadable.append(f"{name}: {error}")
        else:
            flags |= flag
            parts.append((flag, value))
    return flags, parts, table


def _flags(payload: bytes, unreadable: list[str]) -> tuple[int, int]:
    offset, first, more = _FIXED.size, 0, False
    while True:
        if offset + 2 > len(payload):
            raise CutShortError
        word = int.from_bytes(payload[offset : offset + 2], "big")
        more = more or (offset > _FIXED.size and word & ~1 != 0)
        first = first if offset > _FIXED.size else word
        offset += 2
        if not word & 1:
            break
    if more or first & 2:
        unreadable.append("properties: unknown flags")
    return first, offset


def _end(data: bytes, offset: int, kind: str) -> int:
    """Return where a property ends."""
    if kind == "string":
        length = 1 + int.from_bytes(data[offset : offset + 1], "big")
        found = offset < len(data)
    elif kind == "table":
        length = 4 + int.from_bytes(data[offset : offset + 4], "big")
        found = offset + 4 <= len(data)
    else:
        length, found = (1 if kind == "octet" else 8), True
    if not found or offset + length > len(data):
        raise CutShortError("cut short")
    return offset + length


def _check_property(value: bytes, kind: str) -> None:
    if kind == "string":
        check_text(value[1:])
    elif kind == "timestamp":
        check_value(b"T" + value)


def _write(
    class_id: int, body_size: int, flags: int, parts: list[tuple[int, bytes]], table: bytes, notes: Notes
) -> bytes:
    is_marked = notes != _NOTHING
    pieces = list(parts)
    if is_marked or flags & _HEADERS:
        flags |= _HEADERS
        marked = table + _noted(notes)
        pieces.append((_HEADERS, len(marked).to_bytes(4, "big") + marked))
    pieces.sort(reverse=True)  # by flag, which is the order of the properties
    head = _FIXED.pack(class_id, _MARKED if is_marked else 0, body_size) + struct.pack(">H", flags)
    return head + b"".join(piece for _, piece in pieces)


def _noted(notes: Notes) -> bytes:
    shown_notes = list(notes.unreadable[:_NOTES_MAX])
    if len(notes.unreadable) > _NOTES_MAX:
        shown_notes.append(f"and {len(notes.unreadable) - _NOTES_MAX} more")
    texts = b"".join(b"S" + len(text.encode()).to_bytes(4, "big") + text.encode() for text in shown_notes)
    written = _key(_UNREADABLE) + b"A" + len(texts).to_bytes(4, "big") + texts if shown_notes else b""
    if notes.body_size is not None:
        size = min(notes.body_size, 2**63 - 1)
        written += _key(_BODY_SIZE) + b"l" + size.to_bytes(8, "big")
    return written


def _key(name: str) -> bytes:
    return bytes([len(name)]) + name.encode()
