"""The answers and events of docs/protocol.md. Pure, and without pydantic: this runs in a bot's process, on Python 3.10 too.

They are defined here alone: `lockstore.protocol.reading` checks what arrives against these fields, and
`lockstore.protocol.models` makes the schemas from them. What a daemon accepts is defined there.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal

__all__ = [
    "OUTBOUND_TYPES",
    "CancelledMessage",
    "ExpiredMessage",
    "GrantedMessage",
    "Outbound",
    "QueuedMessage",
    "RejectedMessage",
    "ReleasedMessage",
    "RenewedMessage",
    "Rule",
]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field's type does not say."""

    description: str = ""
    at_least: int | None = None
    title: str = ""
    """For code generators: the name of the type."""
    is_never_null: bool = False
    """The field may be absent, but is not sent as null."""


By = Annotated[str | None, Rule("the operator, if reason is forced; otherwise absent, never null", is_never_null=True)]
Seconds = Annotated[float, Rule("seconds since the Unix epoch on the lock store's clock")]
Duration = Annotated[float, Rule("seconds")]


@dataclass(frozen=True, kw_only=True)
class _Outgoing:
    """Open: today's readers must accept fields added later."""

    conversation_id: str | None
    ticket_number: int | None
    request_id: Annotated[str | None, Rule("of the request for which the ticket was issued")]
    holder: Annotated[str | None, Rule("as given in the request, or null")]
    at: Seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as in the body of the message, from which those without a value are absent."""
        given = ((each, getattr(self, each.name)) for each in fields(self))
        return {each.name: value for each, value in given if value is not None or each.default is MISSING}


@dataclass(frozen=True, kw_only=True)
class QueuedMessage(_Outgoing):
    """The ticket is waiting behind others."""

    type: Literal["queued"]
    conversation_id: str
    ticket_number: int
    request_id: str
    position: Annotated[int, Rule("tickets ahead", at_least=1)]
    wait_until: Seconds


@dataclass(frozen=True, kw_only=True)
class GrantedMessage(_Outgoing):
    """The ticket was granted; `ticket_number` is the fencing token."""

    type: Literal["granted"]
    conversation_id: str
    ticket_number: int
    request_id: str
    expires_at: Seconds
    waited: Duration
    behind: Annotated[int, Rule("tickets waiting behind", at_least=0)]


@dataclass(frozen=True, kw_only=True)
class RenewedMessage(_Outgoing):
    """The lease was renewed."""

    type: Literal["renewed"]
    conversation_id: str
    ticket_number: int
    request_id: str
    expires_at: Seconds


@dataclass(frozen=True, kw_only=True)
class ReleasedMessage(_Outgoing):
    """The lease was released by its holder or by an operator."""

    type: Literal["released"]
    conversation_id: str
    ticket_number: int
    request_id: str
    held: Duration
    reason: Annotated[Literal["holder", "forced"], Rule(title="ReleasedReason")]
    by: By = None


@dataclass(frozen=True, kw_only=True)
class ExpiredMessage(_Outgoing):
    """The lease or the wait expired."""

    type: Literal["expired"]
    conversation_id: str
    ticket_number: int
    request_id: str
    phase: Annotated[Literal["held", "waiting"], Rule(title="ExpiredPhase")]


@dataclass(frozen=True, kw_only=True)
class CancelledMessage(_Outgoing):
    """A waiting ticket left the line, or a grant could not be delivered."""

    type: Literal["cancelled"]
    conversation_id: str
    ticket_number: int
    reason: Annotated[Literal["requester", "unreachable", "forced"], Rule(title="CancelledReason")]
    by: By = None


RejectedReason = Annotated[
    Literal[
        "invalid",
        "too_large",
        "wrong_partition",
        "busy",
        "line_full",
        "store_full",
        "finished",
        "unknown_ticket",
        "forbidden",
    ],
    Rule(title="RejectedReason"),
]
TicketEnd = Annotated[Literal["released", "expired", "cancelled"], Rule(title="TicketEnd")]


@dataclass(frozen=True, kw_only=True)
class RejectedMessage(_Outgoing):
    """The message was refused."""

    type: Literal["rejected"]
    reason: RejectedReason
    detail: Annotated[str, Rule("for people; it may change")]
    ended: Annotated[
        TicketEnd | None,
        Rule("only if reason is finished; null if that is no longer remembered", title="TicketEndIfKnown"),
    ] = None
    partitions: Annotated[
        int | None, Rule("only if reason is wrong_partition: how many there are", is_never_null=True)
    ] = None


Outbound = (
    QueuedMessage
    | GrantedMessage
    | RenewedMessage
    | ReleasedMessage
    | ExpiredMessage
    | CancelledMessage
    | RejectedMessage
)

OUTBOUND_TYPES: dict[str, type[Outbound]] = {
    "queued": QueuedMessage,
    "granted": GrantedMessage,
    "renewed": RenewedMessage,
    "released": ReleasedMessage,
    "expired": ExpiredMessage,
    "cancelled": CancelledMessage,
    "rejected": RejectedMessage,
}
