"""AMQP field tables: finding the fields that pamqp can decode, and lossless encoding. Pure.

pamqp raises on some values, recurses for each level of nesting, and takes time quadratic in the number of fields. When
encoding, it narrows doubles, rejects bytes and truncates names.
"""

import struct
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pamqp import decode

__all__ = [
    "DEPTH_MAX",
    "FIELDS_MAX",
    "CutShortError",
    "UnreadableError",
    "check_text",
    "check_value",
    "readable_fields",
    "shown",
    "write_field",
    "write_table",
]

DEPTH_MAX = 32
"""The maximum nesting of tables and arrays; pamqp recurses for each level."""

FIELDS_MAX = 256
"""The maximum number of fields in the headers, including nested ones; pamqp's time is quadratic in it."""

_NAME_MAX = 60  # longest name that is repeated, in characters

_SIZES: dict[int, int | None] = {  # of field values, by type; None: preceded by a length of four bytes
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"D", 5),
    **dict.fromkeys(b"lLdT", 8),
    **dict.fromkeys(b"V\0", 0),
    **dict.fromkeys(b"SxFA", None),
}


class CutShortError(Exception):
    """The bytes are truncated or ambiguous, so that nothing after this position can be located."""


class UnreadableError(Exception):
    """One value cannot be decoded, but the position of the next one is known."""


def check_text(value: bytes) -> None:
    """Raise UnreadableError unless the value is UTF-8."""
    try:
        value.decode()
    except UnicodeDecodeError:
        raise UnreadableError("is not UTF-8") from None


def check_value(value: bytes) -> None:
    """Raise UnreadableError unless pamqp can decode a scalar value, which is preceded by its type."""
    try:
        decode.embedded_value(value)
    except Exception:  # noqa: BLE001 - pamqp passes on whatever datetime and decimal raise
        raise UnreadableError("out of range") from None


def readable_fields(table: bytes, unreadable: list[str], reserved: Collection[bytes]) -> bytes:
    """Return the fields of the headers that can be read, concatenated."""
    kept: list[bytes] = []
    offset, count = 4, [0]
    while offset < len(table):
        key = table[offset + 1 : offset + 1 + table[offset]]
        fault = f"headers.{shown(key)}: "
        try:
            key_end, stop = _field(table, offset, len(table))
            check_text(key)
            _look_into(table, key_end, stop, 1, count)
        except CutShortError as error:
            unreadable.append(fault + str(error))
            break
        except UnreadableError as error:
            unreadable.append(fault + str(error))
            if count[0] > FIELDS_MAX:
                break
        else:
            if key not in reserved:
                kept.append(table[offset:stop])
        offset = stop
    return b"".join(kept)


def shown(name: bytes | str) -> str:
    """Return the name of a field in a form that can be displayed."""
    text = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_NAME_MAX])


def _field(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """Return where the name of a field ends, and where its value ends."""
    key_end = offset + 1 + data[offset]
    if key_end >= end:
        raise CutShortError("cut short")
    return key_end, _value_end(data, key_end, end)


def _value_end(data: bytes, offset: int, end: int) -> int:
    kind = data[offset]
    if kind not in _SIZES:
        raise CutShortError(f"of an unknown type, {bytes([kind])!r}")
    size = _SIZES[kind]
    if size is None:
        if offset + 5 > end:
            raise CutShortError("cut short")
        size = 4 + int.from_bytes(data[offset + 1 : offset + 5], "big")
    if offset + 1 + size > end:
        raise CutShortError("cut short")
    return offset + 1 + size


def _look_into(data: bytes, offset: int, end: int, depth: int, count: list[int]) -> None:
    """Check a nested value whose bounds are known. Raises UnreadableError."""
    count[0] += 1
    if count[0] > FIELDS_MAX:
        raise UnreadableError(f"the headers have more than {FIELDS_MAX} fields")
    kind = data[offset : offset + 1]
    if kind in {b"T", b"D"}:
        check_value(data[offset:end])
    if kind not in {b"F", b"A"}:
        return
    if depth > DEPTH_MAX:
        raise UnreadableError(f"nested more than {DEPTH_MAX} deep")
    offset += 5
    try:
        while offset < end:
            if kind == b"F":
                key_end, stop = _field(data, offset, end)
                check_text(data[offset + 1 : key_end])
            else:
                key_end, stop = offset, _value_end(data, offset, end)
            _look_into(data, key_end, stop, depth + 1, count)
            offset = stop
    except CutShortError as error:
        raise UnreadableError(str(error)) from None


def write_table(values: Mapping[str, Any]) -> bytes:
    """Encode a table so that pamqp can decode it. Raises if a value cannot be encoded."""
    return _counted(b"".join(write_field(name, value) for name, value in values.items()))


def write_field(name: str, value: Any) -> bytes:
    """Encode one field. Raises if it cannot be encoded."""
    encoded = name.encode()
    return bytes([len(encoded)]) + encoded + _value(value)


def _value(value: Any) -> bytes:
    for kind, tag, write in _WRITERS:
        if isinstance(value, kind):
            return tag + write(value)
    raise TypeError(f"no AMQP type for {type(value)}")


def _counted(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent > 0:
        raise ValueError(f"not an AMQP decimal: {value}")
    unscaled = int("".join(map(str, digits)))
    return struct.pack(">Bi", -exponent, -unscaled if sign else unscaled)


_WRITERS: tuple[tuple[type, bytes, Callable[[Any], bytes]], ...] = (
    (type(None), b"V", lambda _: b""),
    (bool, b"t", lambda value: bytes([value])),  # before int, its base class
    (int, b"l", lambda value: struct.pack(">q", value)),
    (float, b"d", lambda value: struct.pack(">d", value)),
    (Decimal, b"D", _decimal),
    (str, b"S", lambda value: _counted(value.encode())),
    (bytearray, b"x", lambda value: _counted(bytes(value))),
    (bytes, b"S", _counted),  # text that is not UTF-8
    (datetime, b"T", lambda value: struct.pack(">Q", int(value.timestamp()))),
    (list, b"A", lambda value: _counted(b"".join(map(_value, value)))),
    (dict, b"F", write_table),
)
