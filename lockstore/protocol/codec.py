"""Between bytes on the wire and the values of the rules: decoding requests, encoding answers, routing. No I/O.

The format is docs/protocol.md's; the models are in `messages`.
"""

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
from lockstore.protocol.messages import (
    INBOUND,
    SHORT_STRING_MAX_BYTES,
    ReleaseMessage,
    RenewMessage,
    RequestMessage,
    fits_short_string,
    if_valid,
)
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

BODY_MAX_BYTES = 64 * 1024  # docs/protocol.md
REPLY_MIN_MS = 300_000
"""For how long a reply can be read at least, in ms."""

_EXPIRATION_MAX_MS = 2**32 - 1  # RabbitMQ's own limit
_DETAIL_MAX = 500  # characters of a rejection's detail; a sender's own text may be quoted in it
_KNOWN_FIELDS = {
    "request": RequestMessage.model_fields,
    "release": ReleaseMessage.model_fields,
    "renew": RenewMessage.model_fields,
}
_EPSILON = 0.0005  # seconds: whatever is asked for, and is not 0, is at least a millisecond


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The defaults and limits of what a request may ask for, in seconds and bytes."""

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
    """Refuse what no answer could carry back. AMQP itself holds senders to it; what is read leniently may have grown."""
    for name in ("reply_to", "correlation_id", "user_id"):
        value = getattr(sender, name)
        if value is not None and not fits_short_string(value):
            message = f"{name}: must be at most {SHORT_STRING_MAX_BYTES} bytes of UTF-8"
            raise MessageError("invalid", message)


def decode(body: bytes, message_id: str | None, sender: Sender, bounds: RequestLimits) -> Request | Release | Renew:
    """Read a message of a replica's, or raise MessageError with the field and the rule that it breaks."""
    if len(body) > BODY_MAX_BYTES:
        detail = f"body: must be at most {BODY_MAX_BYTES} bytes"
        raise MessageError("too_large", detail)
    try:
        message = INBOUND.validate_json(body)
    except ValidationError as error:
        raise MessageError("invalid", broken_rule(error, skip=1, known=_KNOWN_FIELDS)[:_DETAIL_MAX]) from None
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
    """What can be told of a message that could not be read, so that its sender knows which one was refused."""

    conversation_id: str | None = None
    request_id: str | None = None
    number: int | None = None

    @classmethod
    def of(cls, body: bytes, message_id: str | None) -> "PartialMessage":
        """Look for the common fields in a refused body, and believe none that is not of its type and size."""
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
    """Name an event: the same name whenever and by whomever it is announced, another for every other event."""
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
    """Give the event's word on the wire."""
    return _TYPES[type(event)]


def _by(by: str | None) -> dict[str, str]:
    return {} if by is None else {"by": by}


def _own_fields(event: Event) -> dict[str, Any]:  # noqa: PLR0911 - one line for each kind of event
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
    """Give the time for which a reply is of use to whoever asked, in ms: until the lease or the wait ends, or a while."""
    match event:
        case Queued():
            lasts_ms = event.wait_until_ms - event.at_ms
        case Granted() | Renewed():
            lasts_ms = event.expires_at_ms - event.at_ms
        case _:
            lasts_ms = 0
    return min(max(REPLY_MIN_MS, lasts_ms), _EXPIRATION_MAX_MS)


def encode(event: Event) -> bytes:
    """Write an event as the body of its message."""
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
