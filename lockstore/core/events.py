"""What happened in a conversation's line. Times are whole milliseconds since the epoch on the lock store's clock.

An event also has a *record*: a flat JSON-able list, the same whether Python or a Lua script wrote it. Records are what
outboxes keep. An absent text is "" in a record, an absent number -1. Histories keep less of it: neither the conversation,
which they belong to, nor where answers went.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from lockstore.core.ticket import NO_SENDER, Sender

__all__ = [
    "REFUSALS",
    "UNREADABLE",
    "Cancelled",
    "Event",
    "Expired",
    "Granted",
    "Queued",
    "Rejected",
    "Released",
    "Renewed",
    "checked_event",
    "from_history",
    "from_record",
    "happened_at_ms",
    "is_public",
    "recorded_at_ms",
    "taken_by",
    "to_history",
    "to_record",
]

REFUSALS: dict[str, tuple[str, str]] = {
    "busy": ("busy", "wait was 0 and the conversation is held"),
    "line_full": ("line_full", "the line has as many tickets as max_waiting allows"),
    "store_full": ("store_full", "the lock store has no memory for another ticket"),
    "finished": ("finished", "the ticket is over"),
    "unknown_ticket": ("unknown_ticket", "no such ticket was ever issued in this conversation"),
    "too_early": ("unknown_ticket", "no such request yet; remembered: when it comes, it will be cancelled"),
    "forbidden": ("forbidden", "user_id: must be the one that the request carried"),
    "direct": ("forbidden", "ticket_number: issued directly, so only its own process gives it back"),
    "mismatch": ("invalid", "ticket_number, request_id: must name the same ticket"),
    "waiting": ("invalid", "ticket_number: still waiting, and only a granted ticket has a lease to renew"),
}
"""What the rules refuse: code -> (`rejected.reason` of docs/protocol.md, detail)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    conversation_id: str
    number: int | None
    request_id: str | None
    holder: str | None
    at_ms: int
    to: Sender = NO_SENDER
    repeated: bool = False  # told before: the reply is given again, the public is not told twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(_Event):
    """Someone is before this ticket: `position` tickets are ahead; it waits until `wait_until_ms` at the longest."""

    position: int
    wait_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted(_Event):
    """It is this ticket's turn; its number is the fencing token. `behind` tickets wait after it."""

    expires_at_ms: int
    waited_ms: int
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed(_Event):
    """The lease began anew."""

    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(_Event):
    """The lease was given back after `held_ms` (`reason` holder), or taken by an operator (forced), whom `by` names."""

    held_ms: int
    reason: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired(_Event):
    """The lease ended (`phase` held), or the wait did (waiting)."""

    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(_Event):
    """The ticket left the line before its turn: requester, unreachable (also a grant that nobody took) or forced.

    Forced is what an operator did, whom `by` names. A direct ticket that is taken is cancelled, too, wherever it stood.
    """

    reason: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(_Event):
    """A message was refused. `ended` says how a finished ticket ended; `partitions` corrects a wrong routing."""

    reason: str
    detail: str
    ended: str | None = None
    partitions: int | None = None


Event = Queued | Granted | Renewed | Released | Expired | Cancelled | Rejected


_WHOLE_MAX = 2**53 - 1
_COMMON = frozenset(item.name for item in fields(_Event))
_OWN = 11  # where in a record the fields begin that only its kind has
_PUBLIC = frozenset({Queued, Granted, Released, Expired, Cancelled})


def is_public(event: Event) -> bool:
    """Tell whether the public hears of it: a transition, told for the first time. These are what outboxes keep."""
    return type(event) in _PUBLIC and not event.repeated


def taken_by(events: Iterable[Event]) -> Event | None:
    """Find what an operator took, among all that happened then."""
    return next((event for event in events if isinstance(event, Released | Cancelled) and event.by), None)


def _common(event: Event) -> list[Any]:
    to = event.to
    return [
        event.conversation_id,
        -1 if event.number is None else event.number,
        event.request_id or "",
        event.holder or "",
        event.at_ms,
        to.reply_to or "",
        to.correlation_id or "",
        to.user_id or "",
        to.traceparent or "",
        int(event.repeated),
    ]


def _by(by: str | None) -> list[str]:
    return [] if by is None else [by]


def to_record(event: Event) -> list[Any]:
    """Write an event as its record. Rejections have none: they change nothing, so no outbox keeps them."""
    match event:
        case Queued():
            return ["queued", *_common(event), event.position, event.wait_until_ms]
        case Granted():
            return ["granted", *_common(event), event.expires_at_ms, event.waited_ms, event.behind]
        case Renewed():
            return ["renewed", *_common(event), event.expires_at_ms]
        case Released():
            return ["released", *_common(event), event.held_ms, event.reason, *_by(event.by)]
        case Expired():
            return ["expired", *_common(event), event.phase]
        case Cancelled():
            return ["cancelled", *_common(event), event.reason, *_by(event.by)]
        case Rejected():
            message = "a rejection has no record"
            raise TypeError(message)


def _rejected(code: str, ended: str, **common: Any) -> Rejected:
    reason, detail = REFUSALS[code]
    return Rejected(reason=reason, detail=detail, ended=ended or None, **common)


_BUILD: dict[str, Callable[..., Event]] = {
    "queued": lambda a, b, **common: Queued(position=a, wait_until_ms=b, **common),
    "granted": lambda a, b, c, **common: Granted(expires_at_ms=a, waited_ms=b, behind=c, **common),
    "renewed": lambda a, **common: Renewed(expires_at_ms=a, **common),
    "released": lambda a, b, c=None, **common: Released(held_ms=a, reason=b, by=c, **common),
    "expired": lambda a, **common: Expired(phase=a, **common),
    "cancelled": lambda a, b=None, **common: Cancelled(reason=a, by=b, **common),
    "rejected": _rejected,
}


def from_record(record: list[Any]) -> Event:
    """Read a record that `to_record` or a script wrote; a script's rejection is its code and how the ticket ended."""
    kind, conversation_id, number, request_id, holder, at_ms, reply_to, correlation_id, user_id, trace, again, *rest = (
        record
    )
    sender = Sender(reply_to or None, correlation_id or None, user_id or None, trace or None)
    return _BUILD[kind](
        *rest,
        conversation_id=conversation_id,
        number=None if int(number) < 0 else int(number),  # Lua gives one of more than 14 digits as a text
        request_id=request_id or None,
        holder=holder or None,
        at_ms=at_ms,
        to=sender,
        repeated=bool(again),
    )


UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading something that is no record may raise."""


def checked_event(record: Any) -> Event:
    """Read a record that somebody else may have written, and believe none of it. Raises one of UNREADABLE."""
    if not isinstance(record, list):
        message = f"a record is a list, not {type(record).__name__}"
        raise TypeError(message)
    event = from_record(record)
    texts, whole = ("conversation_id", "request_id", "holder"), ("number", "at_ms")
    own = [item for item in fields(event) if item.name not in _COMMON]
    values: list[tuple[str, Any, type]] = [(name, getattr(event, name), str) for name in texts]
    values += [(item.name, getattr(event.to, item.name), str) for item in fields(event.to)]
    values += [(name, getattr(event, name), int) for name in whole]
    values += [
        (item.name, getattr(event, item.name), int if item.type == "int" or item.type is int else str) for item in own
    ]
    for name, value, kind in values:
        if value is None and name not in ("conversation_id", "at_ms"):
            continue
        if type(value) is not kind:
            message = f"{name}: {kind.__name__} expected, not {type(value).__name__}"
            raise TypeError(message)
        if isinstance(value, str):
            value.encode()  # half of a surrogate pair has no bytes
    if event.number is not None and event.number > _WHOLE_MAX:
        message = f"number: at most {_WHOLE_MAX}"
        raise ValueError(message)
    return event


def recorded_at_ms(record: list[Any]) -> int:
    """Tell when the event of a record happened."""
    return int(record[5])


def to_history(event: Event) -> list[Any]:
    """Write an event for a history: its type, number, request id, holder, time, and the fields of its own."""
    record = to_record(event)
    return [record[0], *record[2:6], *record[_OWN:]]


def from_history(conversation_id: str, kept: list[Any]) -> Event:
    """Read what `to_history` or a script wrote."""
    kind, number, request_id, holder, at_ms, *own = kept
    return from_record([kind, conversation_id, number, request_id, holder, at_ms, "", "", "", "", 0, *own])


def happened_at_ms(kept: list[Any]) -> int:
    """Tell when the event of a history's entry happened."""
    return int(kept[4])
