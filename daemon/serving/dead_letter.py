"""Creates dead letters: the original message, as far as it can be encoded, and why it was rejected. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from lockstore.amqp.content_header import Notes
from lockstore.amqp.field_table import shown, write_field, write_table

__all__ = ["DeadLetter"]

_PERSISTENT = 2  # AMQP's delivery mode
_RESERVE = 1024  # bytes of a frame reserved for headers that RabbitMQ adds
_LEFT_OUT_MAX = 16
_COPIED = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "message_id",
    "timestamp",
    "message_type",
    "app_id",
)
_NAMES = {"message_type": "type"}  # AMQP's names where pamqp's differ


class _Properties(Basic.Properties):
    """Properties whose headers are encoded without loss: pamqp narrows doubles, rejects bytes and truncates names."""

    def encode_property(self, name: str, value: Any) -> bytes:
        return write_table(value) if name == "headers" else super().encode_property(name, value)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected message, and the reason."""

    body: bytes
    properties: Basic.Properties
    notes: Notes
    reason: str
    detail: str

    def written(self, header_max: int) -> Basic.Properties:
        """Return the properties to publish it with.

        Properties that cannot be encoded, or do not fit into a content header of `header_max` bytes (0: unlimited), are
        omitted and listed in the header `x-left-out`. Never raises.
        """
        left_out = list(self.notes.unreadable)
        headers: dict[str, Any] = {}
        for key, value in (self.properties.headers or {}).items():
            if _can_be_written(write_field, key, value):
                headers[key] = value
            else:
                left_out.append(f"headers.{shown(key)}: cannot be encoded")
        kept: dict[str, Any] = {}
        for name in _COPIED:
            value = getattr(self.properties, name)
            if value is None:
                continue
            if _can_be_written(Basic.Properties().encode_property, name, value):
                kept[name] = value
            else:
                left_out.append(f"{_NAMES.get(name, name)}: cannot be encoded")
        while True:
            written = self._properties(headers, kept, left_out)
            if header_max <= 0 or _size(written) + _RESERVE <= header_max or not (headers or kept):
                return written
            left_out.append(f"{_without_largest(headers or kept, bool(headers))}: too large for the frame")

    def _properties(self, headers: Mapping[str, Any], kept: Mapping[str, Any], left_out: list[str]) -> Basic.Properties:
        ours: dict[str, Any] = {"x-error-reason": self.reason, "x-error-detail": self.detail}
        if left_out:
            more = len(left_out) - _LEFT_OUT_MAX
            ours["x-left-out"] = left_out[:_LEFT_OUT_MAX] + ([f"and {more} more"] if more > 0 else [])
        if self.notes.body_size is not None:
            ours["x-body-size"] = self.notes.body_size
        return _Properties(headers={**headers, **ours}, delivery_mode=_PERSISTENT, **kept)


def _without_largest(values: dict[str, Any], are_headers: bool) -> str:  # noqa: FBT001 - private
    if are_headers:
        name = max(values, key=lambda key: len(write_field(key, values[key])))
        name_shown = f"headers.{shown(name)}"
    else:
        name = max(values, key=lambda key: len(str(values[key])))
        name_shown = _NAMES.get(name, name)
    del values[name]
    return name_shown


def _size(properties: Basic.Properties) -> int:
    return len(ContentHeader(properties=properties).marshal())


def _can_be_written(write: Callable[[str, Any], object], name: str, value: Any) -> bool:
    try:
        write(name, value)
    except Exception:  # noqa: BLE001 - struct, datetime, decimal, codecs and recursion raise different errors
        return False
    return True
