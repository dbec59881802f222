"""Recognises a message when it is delivered again, by the bytes of its content header. Nothing is decoded. Pure.

RabbitMQ counts deliveries in the headers of the message, so these are left out of what is compared.
"""

from typing import NamedTuple

__all__ = ["Identity", "delivery_count", "identity_of"]

_COUNTS = (b"\x10x-delivery-count", b"\x10x-acquired-count")  # each with its length before it
_SIZES = {b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"L": 8}
_HEADERS = 0x2000
_BEFORE_HEADERS = (0x8000, 0x4000)  # two short strings


class Identity(NamedTuple):
    """What stays the same from one delivery of a message to the next."""

    body_size: bytes
    flags: int
    before: bytes
    headers: bytes
    behind: bytes


def identity_of(header: bytes) -> Identity:
    """Return the identity of the message with this content header. Never raises."""
    flags = int.from_bytes(header[12:14], "big")
    offset = 14
    for flag in _BEFORE_HEADERS:
        if flags & flag:
            offset += 1 + int.from_bytes(header[offset : offset + 1], "big")
    before, rest = header[14:offset], header[offset:]
    if not flags & _HEADERS:
        return Identity(header[4:12], flags, before, b"", rest)
    end = 4 + int.from_bytes(rest[:4], "big")
    fields = rest[4:end]
    for name in _COUNTS:
        start, _, stop = _find(fields, name)
        fields = fields[:start] + fields[stop:]
    return Identity(header[4:12], flags & ~_HEADERS, before, fields, rest[end:])


def delivery_count(header: bytes) -> int:
    """Return how often RabbitMQ reports having delivered the message before."""
    start, value, stop = _find(header, _COUNTS[0])
    return int.from_bytes(header[value:stop], "big") if start < stop else 0


def _find(fields: bytes, name: bytes) -> tuple[int, int, int]:
    """Find where a field, its value and its end are; all at the end of the fields if it is not there."""
    start = fields.find(name)
    kind = start + len(name)
    size = _SIZES.get(fields[kind : kind + 1]) if start >= 0 else None
    if size is None:
        return len(fields), len(fields), len(fields)
    return start, kind + 1, kind + 1 + size
