"""The limits of docs/protocol.md that client and daemon share, and what a request may contain. Pure, and without pydantic.

The daemon's models (`lockstore.protocol.models`) are built from the same numbers; a test holds the two together.
"""

import re
from math import inf
from typing import Any

__all__ = [
    "BODY_MAX_BYTES",
    "CONVERSATION_ID_MAX_BYTES",
    "HOLDER_MAX",
    "NUMBER_MAX",
    "PRINTABLE",
    "REQUEST_ID_MAX",
    "SHORT_STRING_MAX_BYTES",
    "fits_short_string",
    "request_fault",
]

BODY_MAX_BYTES = 64 * 1024
CONVERSATION_ID_MAX_BYTES = 200  # with the longest event type it still fits into an AMQP routing key
REQUEST_ID_MAX = 64  # characters
HOLDER_MAX = 128  # characters
NUMBER_MAX = 2**53 - 1  # the largest integer that every JSON parser reads exactly
SHORT_STRING_MAX_BYTES = 255
"""The limit of AMQP's short strings, in bytes of UTF-8. It applies to request ids, which become correlation ids."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def fits_short_string(value: str) -> bool:
    """Return whether AMQP can carry a text as a property, a routing key or a queue name."""
    if len(value) > SHORT_STRING_MAX_BYTES:
        return False
    try:
        return value.isascii() or len(value.encode()) <= SHORT_STRING_MAX_BYTES
    except UnicodeEncodeError:  # unpaired surrogate
        return False


def request_fault(conversation_id: object, lifetime: object, wait: object, holder: object) -> str | None:
    """Return why every daemon rejects a request with these fields, in the daemon's words; None if none does."""
    return (
        _text_fault("conversation_id", conversation_id, CONVERSATION_ID_MAX_BYTES, least=1)
        or _bytes_fault("conversation_id", str(conversation_id), CONVERSATION_ID_MAX_BYTES)
        or (None if lifetime is None else _number_fault("lifetime", lifetime, above=0))
        or (None if wait is None else _number_fault("wait", wait, least=0))
        or (None if holder is None else _text_fault("holder", holder, HOLDER_MAX))
    )


def _text_fault(name: str, value: object, most: int, least: int = 0) -> str | None:
    if not isinstance(value, str):
        return f"{name}: must be a text"
    if any("\ud800" <= each <= "\udfff" for each in value):
        return f"{name}: must be a text of valid Unicode"
    if len(value) < least:
        return f"{name}: must not be empty"
    if len(value) > most:
        return f"{name}: must have at most {most} characters"
    if _CONTROL.search(value):
        return f"{name}: must not contain control characters"
    return None


def _bytes_fault(name: str, value: str, most: int) -> str | None:
    return f"{name}: must be at most {most} bytes of UTF-8" if len(value.encode()) > most else None


def _number_fault(name: str, value: object, *, least: float | None = None, above: float = -inf) -> str | None:
    number = _as_number(value)
    if number is None:
        return f"{name}: must be a number"
    if not -inf < number < inf:
        return f"{name}: must be a finite number"
    if number <= above:
        return f"{name}: must be more than {above:g}"
    if least is not None and number < least:
        return f"{name}: must be {least:g} or more"
    return None


def _as_number(value: Any) -> float | None:
    """Return a number of any type; None for a text, a truth value, and what is too large for a double."""
    if isinstance(value, (bool, str, bytes, bytearray)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
