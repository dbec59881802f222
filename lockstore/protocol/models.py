"""The messages of docs/protocol.md that a daemon accepts, as pydantic models."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lockstore.protocol.limits import (
    CONVERSATION_ID_MAX_BYTES,
    HOLDER_MAX,
    NUMBER_MAX,
    PRINTABLE,
    REQUEST_ID_MAX,
    SHORT_STRING_MAX_BYTES,
)

__all__ = [
    "INBOUND",
    "INBOUND_MODELS",
    "ConversationId",
    "Holder",
    "Inbound",
    "ReleaseMessage",
    "RenewMessage",
    "RequestMessage",
    "if_valid",
]


def _at_most_bytes(most: int) -> AfterValidator:
    def check(value: str) -> str:
        if not value.isascii() and len(value.encode()) > most:
            message = f"must be at most {most} bytes of UTF-8"
            raise ValueError(message)
        return value

    return AfterValidator(check)


ConversationId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=CONVERSATION_ID_MAX_BYTES,
        pattern=PRINTABLE,
        description=f"at most {CONVERSATION_ID_MAX_BYTES} bytes of UTF-8",
    ),
    _at_most_bytes(CONVERSATION_ID_MAX_BYTES),
]
RequestId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=REQUEST_ID_MAX,
        pattern=PRINTABLE,
        description=f"at most {SHORT_STRING_MAX_BYTES} bytes of UTF-8",
    ),
    _at_most_bytes(SHORT_STRING_MAX_BYTES),
]
Holder = Annotated[str, Field(max_length=HOLDER_MAX, pattern=PRINTABLE)]
TicketNumber = Annotated[int, Field(ge=0, le=NUMBER_MAX)]
Lifetime = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False, description="duration of the lease in seconds, from the grant or the renewal"),
]
Wait = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="maximum time in line in seconds; 0: granted immediately or rejected"),
]


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
    "if": {"properties": {"ticket_number": {"type": "null"}, "request_id": {"type": "null"}}},
    "then": False,
}
"""For the schemas: refused if both are absent or null. Generators ignore this form, where `anyOf` or `not` would hide the fields
from them. `lockstore.protocol.codec` checks it with a better error message."""


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
INBOUND_MODELS: dict[str, type[BaseModel]] = {
    "request": RequestMessage,
    "release": ReleaseMessage,
    "renew": RenewMessage,
}
