"""Converts between messages and the values of the rules: decoding requests, encoding answers. No I/O.

docs/protocol.md specifies the format; `models` has what is accepted, `messages` what is sent.
"""

import json
import uuid
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from lockstore.core.commands import Release, Renew, Request
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Rejected, Released, Renewed
from lockstore.core.ticket import Sender
from lockstore.errors import MessageError
from lockstore.protocol.limits import BODY_MAX_BYTES, SHORT_STRING_MAX_BYTES, fits_short_string
from lockstore.protocol.models import INBOUND, ReleaseMessage, RenewMessage, RequestMessage, if_valid
from lockstore.util.validation import broken_rule

__all__ = [
    "BODY_MAX_BYTES",
    "REPLY_MIN_MS",
    "PartialMessage",
    "RequestLimits",
    "decode",
    "encode",
    "expiration_ms",
    "message_id",
    "type_of",
]

REPLY_MIN_MS = 300_000
"""The shortest time for which a reply can be read, in ms."""

_EXPIRATION_MAX_MS = 2**32 - 1  # RabbitMQ's limit
_DETAIL_MAX = 500  # longest detail of a rejection, in characters; it may quote the sender's text
_KNOWN_FIELDS = {
    "request": RequestMessage.model_fields,
    "release": ReleaseMessage.model_fields,
    "renew": RenewMessage.model_fields,
}
_EPSILON = 0.0005  # seconds: any value greater than 0 becomes at least one millisecond


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Defaults and limits of requests, in seconds and bytes."""

    lifetime: float = 60
    wait: float = 300
    max_lifetime: float = 3600
    max_wait: float = 3600


def _ms(seconds: float) -> int:
    return 0 if seconds == 0 else round(max(seconds, _EPSILON + _EPSILON) * 1000)


def _bounded(name: str, seconds: float, most: float) -> int:
    if seconds > most:
        message = f"{name}: must be at most {most:g} seconds"
        raise MessageError("invalid", message)
    return _ms(seconds)


def _request_id(message: RequestMessage, message_id: str | None) -> str:
    if message.request_id is not None:
        return message.request_id
    if not message_id:
        raise MessageError("invalid", "request_id: required, here or as the AMQP property message_id")
    if if_valid("request_id", message_id) is None:
        detail = (
            "message_id: as request_id, must be 1 to 64 characters, none of them a control character, "
            f"and at most {SHORT_STRING_MAX_BYTES} bytes of UTF-8"
        )
        raise MessageError("invalid", detail)
    return message_id


def _with_correlation(sender: Sender, request_id: str | None) -> Sender:
    if sender.correlation_id is not None or request_id is None:
        return sender
    return Sender(sender.reply_to, request_id, sender.user_id, sender.traceparent)


def _check_sender(sender: Sender) -> None:
    """Reject properties that no answer could carry. AMQP limits them as well, but lenient decoding may have lengthened them."""
    for name in ("reply_to", "correlation_id", "user_id"):
        value = getattr(sender, name)
        if value is not None and not fits_short_string(value):
            message = f"{name}: must be at most {SHORT_STRING_MAX_BYTES} bytes of UTF-8"
            raise MessageError("invalid", message)


def _check_twice(body: bytes, fields: int) -> None:
    """Refuse a body in which a field stands twice: of several readers, each would take another one for the right one."""
    if body.count(b":") == fields:
        return  # one colon for each field, and none in a text: so are nearly all messages

    def check(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise MessageError("invalid", f"{twice}: stands twice")

    json.loads(body, object_pairs_hook=check)


def decode(body: bytes, message_id: str | None, sender: Sender, bounds: RequestLimits) -> Request | Release | Renew:
    """Decode a message of a replica. Raises MessageError with the field and the rule."""
    if len(body) > BODY_MAX_BYTES:
        detail = f"body: must be at most {BODY_MAX_BYTES} bytes"
        raise MessageError("too_large", detail)
    try:
        message = INBOUND.validate_json(body)
    except ValidationError as error:
        raise MessageError("invalid", broken_rule(error, skip=1, known=_KNOWN_FIELDS)[:_DETAIL_MAX]) from None
    _check_twice(body, len(message.model_fields_set))
    _check_sender(sender)
    sender = _with_correlation(sender, message.request_id or message_id)
    conversation_id = message.conversation_id
    if isinstance(message, RequestMessage):
        lifetime = bounds.lifetime if message.lifetime is None else message.lifetime
        wait = bounds.wait if message.wait is None else message.wait
        return Request(
            conversation_id,
            _request_id(message, message_id),
            _bounded("lifetime", lifetime, bounds.max_lifetime),
            _bounded("wait", wait, bounds.max_wait),
            message.holder or None,
            sender,
        )
    if message.ticket_number is None and message.request_id is None:
        detail = "ticket_number: it or request_id is required"
        raise MessageError("invalid", detail)
    if isinstance(message, ReleaseMessage):
        return Release(conversation_id, message.ticket_number, message.request_id, sender)
    assert isinstance(message, RenewMessage)  # noqa: S101 - narrows the union for the type checker
    lease = None if message.lifetime is None else _bounded("lifetime", message.lifetime, bounds.max_lifetime)
    return Renew(conversation_id, message.ticket_number, message.request_id, lease, sender)


@dataclass(frozen=True, slots=True)
class PartialMessage:
    """The fields of an invalid message that are still usable, so that its sender learns which message was rejected."""

    conversation_id: str | None = None
    request_id: str | None = None
    number: int | None = None

    @classmethod
    def of(cls, body: bytes, message_id: str | None) -> "PartialMessage":
        """Extract the common fields of an invalid body, each only if it is valid itself."""
        fallback = if_valid("request_id", message_id)
        if len(body) > BODY_MAX_BYTES:
            return cls(None, fallback)
        try:
            data = from_json(body)
        except ValueError:
            return cls(None, fallback)
        if not isinstance(data, dict):
            return cls(None, fallback)
        found = {
            field: if_valid(field, data.get(field)) for field in ("conversation_id", "request_id", "ticket_number")
        }
        return cls(found["conversation_id"], found["request_id"] or fallback, found["ticket_number"])


def message_id(event: Event) -> str:
    """Return an event's message id: the same whenever and by whichever daemon it is published, and unique."""
    if isinstance(event, Rejected):
        return uuid.uuid4().hex
    line = blake2b(event.conversation_id.encode(), digest_size=12).hexdigest()
    name = f"{line}.{event.number}.{type_of(event)}"
    return f"{name}.{event.at_ms}.{event.expires_at_ms}" if isinstance(event, Renewed) else name


_TYPES: dict[type, str] = {
    Queued: "queued",
    Granted: "granted",
    Renewed: "renewed",
    Released: "released",
    Expired: "expired",
    Cancelled: "cancelled",
    Rejected: "rejected",
}


def type_of(event: Event) -> str:
    """Return the event's type on the wire."""
    return _TYPES[type(event)]


def _by(by: str | None) -> dict[str, str]:
    return {} if by is None else {"by": by}


def _own_fields(event: Event) -> dict[str, Any]:  # noqa: PLR0911 - one line for each type of event
    match event:
        case Queued():
            return {"position": event.position, "wait_until": event.wait_until_ms / 1000}
        case Granted():
            waited = event.waited_ms / 1000
            return {"expires_at": event.expires_at_ms / 1000, "waited": waited, "behind": event.behind}
        case Renewed():
            return {"expires_at": event.expires_at_ms / 1000}
        case Released():
            return {"held": event.held_ms / 1000, "reason": event.reason, **_by(event.by)}
        case Expired():
            return {"phase": event.phase}
        case Cancelled():
            return {"reason": event.reason, **_by(event.by)}
        case Rejected():
            own: dict[str, Any] = {"reason": event.reason, "detail": event.detail}
            if event.reason == "finished":
                own["ended"] = event.ended
            if event.partitions is not None:
                own["partitions"] = event.partitions
            return own


def expiration_ms(event: Event) -> int:
    """Return how long a reply is useful, in ms: until the lease or the wait ends, or a fixed time."""
    match event:
        case Queued():
            lasts_ms = event.wait_until_ms - event.at_ms
        case Granted() | Renewed():
            lasts_ms = event.expires_at_ms - event.at_ms
        case _:
            lasts_ms = 0
    return min(max(REPLY_MIN_MS, lasts_ms), _EXPIRATION_MAX_MS)


def encode(event: Event) -> bytes:
    """Encode an event as a message body."""
    return to_json(
        {
            "type": _TYPES[type(event)],
            "conversation_id": event.conversation_id or None,
            "ticket_number": event.number,
            "request_id": event.request_id,
            "holder": event.holder,
            "at": event.at_ms / 1000,
            **_own_fields(event),
        }
    )
