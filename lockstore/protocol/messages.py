"""The messages of docs/protocol.md as pydantic models: what is accepted, and what is said. Schemas are made from these."""

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

CONVERSATION_ID_MAX_BYTES = 200  # docs/protocol.md; with the longest event type it still fits an AMQP routing key
SHORT_STRING_MAX_BYTES = 255
"""What AMQP's short strings hold, in bytes of UTF-8: a request id becomes a correlation id, and that is one."""

_NUMBER_MAX = 2**53 - 1  # the largest integer that every JSON reader keeps exact
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _at_most_bytes(most: int) -> AfterValidator:
    def check(value: str) -> str:
        if not value.isascii() and len(value.encode()) > most:
            message = f"must be at most {most} bytes of UTF-8"
            raise ValueError(message)
        return value

    return AfterValidator(check)


def fits_short_string(value: str) -> bool:
    """Tell whether AMQP can carry a text as a property, a routing key or the name of a queue."""
    if len(value) > SHORT_STRING_MAX_BYTES:
        return False
    try:
        return value.isascii() or len(value.encode()) <= SHORT_STRING_MAX_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair
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
Lifetime = Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds of lease, from the grant on")]
Wait = Annotated[float, Field(ge=0, allow_inf_nan=False, description="seconds in line; 0 = now or not at all")]
By = Annotated[str | None, Field(description="the operator, where reason is forced; absent otherwise")]
Seconds = Annotated[float, Field(description="seconds since the Unix epoch on the lock store's clock")]


_FIELDS: dict[str, TypeAdapter[Any]] = {
    "conversation_id": TypeAdapter(ConversationId),
    "request_id": TypeAdapter(RequestId),
    "ticket_number": TypeAdapter(TicketNumber),
}


def if_valid(field: str, value: Any) -> Any:
    """Give the value of one of the common fields back if it keeps that field's rules, else None."""
    try:
        return _FIELDS[field].validate_python(value, strict=True)
    except ValidationError:
        return None


class _Said(BaseModel):
    """Strict, and closed: a typo must not pass silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    conversation_id: ConversationId


class RequestMessage(_Said):
    """A ticket, please."""

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
"""For schemas: one of the two is needed. `lockstore.protocol.codec` refuses what has neither, since it can name the remedy."""


class ReleaseMessage(_Said):
    """Done with it; a ticket still waiting is cancelled."""

    model_config = ConfigDict(json_schema_extra=_NAMES_A_TICKET)

    type: Literal["release"]
    ticket_number: TicketNumber | None = None
    request_id: RequestId | None = None


class RenewMessage(_Said):
    """The lease starts anew now."""

    model_config = ConfigDict(json_schema_extra=_NAMES_A_TICKET)

    type: Literal["renew"]
    ticket_number: TicketNumber | None = None
    request_id: RequestId | None = None
    lifetime: Lifetime | None = None


Inbound = Annotated[RequestMessage | ReleaseMessage | RenewMessage, Field(discriminator="type")]
INBOUND: TypeAdapter[Inbound] = TypeAdapter(Inbound)


class _Told(BaseModel):
    """Open: a reader of today must get along with a field of tomorrow."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    conversation_id: str | None
    ticket_number: int | None
    request_id: str | None
    holder: str | None
    at: Seconds


class QueuedMessage(_Told):
    """Someone is before this ticket."""

    type: Literal["queued"]
    ticket_number: int
    position: Annotated[int, Field(ge=1, description="tickets ahead")]
    wait_until: Seconds


class GrantedMessage(_Told):
    """It is this ticket's turn; `ticket_number` is the fencing token."""

    type: Literal["granted"]
    ticket_number: int
    expires_at: Seconds
    waited: Annotated[float, Field(description="seconds")]
    behind: Annotated[int, Field(ge=0, description="tickets waiting behind")]


class RenewedMessage(_Told):
    """The lease was extended."""

    type: Literal["renewed"]
    ticket_number: int
    expires_at: Seconds


class ReleasedMessage(_Told):
    """The holder gave it back, or an operator took it."""

    type: Literal["released"]
    ticket_number: int
    held: Annotated[float, Field(description="seconds")]
    reason: Literal["holder", "forced"]
    by: By = None


class ExpiredMessage(_Told):
    """The lease or the wait ended."""

    type: Literal["expired"]
    ticket_number: int
    phase: Literal["held", "waiting"]


class CancelledMessage(_Told):
    """A waiting ticket left the line; or a grant could not be delivered."""

    type: Literal["cancelled"]
    ticket_number: int
    reason: Literal["requester", "unreachable", "forced"]
    by: By = None


class RejectedMessage(_Told):
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
