"""The messages of docs/protocol.md as pydantic models: those accepted, and those sent. The schemas are generated from them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

__all__ = [
    "CONVERSATION_ID_MAX_BYTES",
    "INBOUND",
    "OUTBOUND",
    "SHORT_STRING_MAX_BYTES",
    "CancelledMessage",
    "ExpiredMessage",
    "GrantedMessage",
    "Inbound",
    "Outbound",
    "QueuedMessage",
    "RejectedMessage",
    "ReleaseMessage",
    "ReleasedMessage",
    "RenewMessage",
    "RenewedMessage",
    "RequestMessage",
    "fits_short_string",
    "if_valid",
]

CONVERSATION_ID_MAX_BYTES = 200  # docs/protocol.md; with the longest event type it still fits into an AMQP routing key
SHORT_STRING_MAX_BYTES = 255
"""The limit of AMQP's short strings, in bytes of UTF-8. It applies to request ids, which become correlation ids."""

_NUMBER_MAX = 2**53 - 1  # the largest integer that every JSON parser reads exactly
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _at_most_bytes(most: int) -> AfterValidator:
    def check(value: str) -> str:
        if not value.isascii() and len(value.encode()) > most:
            message = f"must be at most {most} bytes of UTF-8"
            raise ValueError(message)
        return value

    return AfterValidator(check)


def fits_short_string(value: str) -> bool:
    """Return whether AMQP can carry a text as a property, a routing key or a queue name."""
    if len(value) > SHORT_STRING_MAX_BYTES:
        return False
    try:
        return value.isascii() or len(value.encode()) <= SHORT_STRING_MAX_BYTES
    except UnicodeEncodeError:  # unpaired surrogate
        return False


ConversationId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=CONVERSATION_ID_MAX_BYTES,
        pattern=_PRINTABLE,
        description=f"at most {CONVERSATION_ID_MAX_BYTES} bytes of UTF-8",
    ),
    _at_most_bytes(CONVERSATION_ID_MAX_BYTES),
]
RequestId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=_PRINTABLE,
        description=f"at most {SHORT_STRING_MAX_BYTES} bytes of UTF-8",
    ),
    _at_most_bytes(SHORT_STRING_MAX_BYTES),
]
Holder = Annotated[str, Field(max_length=128, pattern=_PRINTABLE)]
TicketNumber = Annotated[int, Field(ge=0, le=_NUMBER_MAX)]
Lifetime = Annotated[
    float, Field(gt=0, allow_inf_nan=False, description="duration of the lease in seconds, from the grant")
]
Wait = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="maximum time in line in seconds; 0: granted immediately or rejected"),
]
By = Annotated[str | None, Field(description="the operator, if reason is forced; otherwise absent")]
Seconds = Annotated[float, Field(description="seconds since the Unix epoch on the lock store's clock")]


_FIELDS: dict[str, TypeAdapter[Any]] = {
    "conversation_id": TypeAdapter(ConversationId),
    "request_id": TypeAdapter(RequestId),
    "ticket_number": TypeAdapter(TicketNumber),
}


def if_valid(field: str, value: Any) -> Any:
    """Return the value if it is valid for this common field, else None."""
    try:
        return _FIELDS[field].validate_python(value, strict=True)
    except ValidationError:
        return None


class _Incoming(BaseModel):
    """Strict, without unknown fields: a typo must not go unnoticed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    conversation_id: ConversationId


class RequestMessage(_Incoming):
    """Request a ticket."""

    type: Literal["request"]
    request_id: RequestId | None = None
    lifetime: Lifetime | None = None
    wait: Wait | None = None
    holder: Holder | None = None


_NAMES_A_TICKET: dict[str, Any] = {
    "anyOf": [
        {"required": ["ticket_number"], "properties": {"ticket_number": {"type": "integer"}}},
        {"required": ["request_id"], "properties": {"request_id": {"type": "string"}}},
    ]
}
"""For the schemas: one of the two is required. `lockstore.protocol.codec` checks this with a better error message."""


class ReleaseMessage(_Incoming):
    """Release a lease, or cancel a waiting ticket."""

    model_config = ConfigDict(json_schema_extra=_NAMES_A_TICKET)

    type: Literal["release"]
    ticket_number: TicketNumber | None = None
    request_id: RequestId | None = None


class RenewMessage(_Incoming):
    """Restart the lease from now."""

    model_config = ConfigDict(json_schema_extra=_NAMES_A_TICKET)

    type: Literal["renew"]
    ticket_number: TicketNumber | None = None
    request_id: RequestId | None = None
    lifetime: Lifetime | None = None


Inbound = Annotated[RequestMessage | ReleaseMessage | RenewMessage, Field(discriminator="type")]
INBOUND: TypeAdapter[Inbound] = TypeAdapter(Inbound)


class _Outgoing(BaseModel):
    """Open: today's readers must accept fields added later."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    conversation_id: str | None
    ticket_number: int | None
    request_id: str | None
    holder: str | None
    at: Seconds


class QueuedMessage(_Outgoing):
    """The ticket is waiting behind others."""

    type: Literal["queued"]
    ticket_number: int
    position: Annotated[int, Field(ge=1, description="tickets ahead")]
    wait_until: Seconds


class GrantedMessage(_Outgoing):
    """The ticket was granted; `ticket_number` is the fencing token."""

    type: Literal["granted"]
    ticket_number: int
    expires_at: Seconds
    waited: Annotated[float, Field(description="seconds")]
    behind: Annotated[int, Field(ge=0, description="tickets waiting behind")]


class RenewedMessage(_Outgoing):
    """The lease was renewed."""

    type: Literal["renewed"]
    ticket_number: int
    expires_at: Seconds


class ReleasedMessage(_Outgoing):
    """The lease was released by its holder or by an operator."""

    type: Literal["released"]
    ticket_number: int
    held: Annotated[float, Field(description="seconds")]
    reason: Literal["holder", "forced"]
    by: By = None


class ExpiredMessage(_Outgoing):
    """The lease or the wait expired."""

    type: Literal["expired"]
    ticket_number: int
    phase: Literal["held", "waiting"]


class CancelledMessage(_Outgoing):
    """A waiting ticket left the line, or a grant could not be delivered."""

    type: Literal["cancelled"]
    ticket_number: int
    reason: Literal["requester", "unreachable", "forced"]
    by: By = None


class RejectedMessage(_Outgoing):
    """The message was refused."""

    type: Literal["rejected"]
    reason: Literal[
        "invalid",
        "too_large",
        "wrong_partition",
        "busy",
        "line_full",
        "store_full",
        "finished",
        "unknown_ticket",
        "forbidden",
    ]
    detail: str
    ended: Literal["released", "expired", "cancelled"] | None = None
    partitions: int | None = None


Outbound = Annotated[
    QueuedMessage
    | GrantedMessage
    | RenewedMessage
    | ReleasedMessage
    | ExpiredMessage
    | CancelledMessage
    | RejectedMessage,
    Field(discriminator="type"),
]
OUTBOUND: TypeAdapter[Outbound] = TypeAdapter(Outbound)
