"""The events in a conversation's line. Times are whole milliseconds since the Unix epoch on the lock store's clock.

An event also has a *record*: a flat list that can be written as JSON, identical whether Python or a Lua script wrote it.
Outboxes keep records. In a record, an absent text is "" and an absent number is -1. Histories keep shorter entries, without
the conversation id and without reply addresses.
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
    "busy": ("busy", "wait is 0 and the conversation is held"),
    "line_full": ("line_full", "the line already has max_waiting tickets"),
    "store_full": ("store_full", "the lock store has no memory for another ticket"),
    "finished": ("finished", "the ticket has ended"),
    "unknown_ticket": ("unknown_ticket", "no such ticket was ever issued in this conversation"),
    "too_early": ("unknown_ticket", "the request has not arrived yet; it will be cancelled when it arrives"),
    "forbidden": ("forbidden", "user_id: must equal the user_id of the request"),
    "direct": ("forbidden", "ticket_number: issued directly; only its own process can release it"),
    "mismatch": ("invalid", "ticket_number, request_id: must name the same ticket"),
    "waiting": ("invalid", "ticket_number: still waiting; only a granted ticket has a lease to renew"),
}
"""Rejections by the rules: code -> (`rejected.reason` of docs/protocol.md, detail)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    conversation_id: str
    number: int | None
    request_id: str | None
    holder: str | None
    at_ms: int
    to: Sender = NO_SENDER
    repeated: bool = False  # answered before: the reply is sent again, but nothing is published


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(_Event):
    """The ticket waits: `position` tickets are ahead of it; the wait ends at `wait_until_ms`."""

    position: int
    wait_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted(_Event):
    """The ticket was granted; its number is the fencing token. `behind` tickets wait after it."""

    expires_at_ms: int
    waited_ms: int
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed(_Event):
    """The lease was renewed."""

    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(_Event):
    """The lease was released after `held_ms` by its holder (`reason` holder), or by the operator named in `by` (forced)."""

    held_ms: int
    reason: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired(_Event):
    """The lease expired (`phase` held), or the wait did (waiting)."""

    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(_Event):
    """The ticket left the line without being served: requester, unreachable (also an undeliverable grant) or forced.

    Forced: by the operator named in `by`. A direct ticket removed by an operator is always cancelled.
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
_ALL_TEXTS = ("conversation_id", "request_id", "holder")
_ALL_NUMBERS = ("number", "at_ms")
_SENDER_TEXTS = tuple(item.name for item in fields(Sender))
# The fields of each type of event and their types, once and not for each record: a patrol may check thousands.
_OWN_TYPES: dict[type, tuple[tuple[str, type], ...]] = {
    kind: tuple(
        (item.name, int if item.type in ("int", int) else str) for item in fields(kind) if item.name not in _COMMON
    )
    for kind in (Queued, Granted, Renewed, Released, Expired, Cancelled, Rejected)
}
_OWN = 11  # index in a record of the first field specific to the event's type
_PUBLIC = frozenset({Queued, Granted, Released, Expired, Cancelled})


def is_public(event: Event) -> bool:
    """Return whether the event is published: it changed the line and is not a repeated answer. Outboxes keep such events."""
    return type(event) in _PUBLIC and not event.repeated


def taken_by(events: Iterable[Event]) -> Event | None:
    """Return the event of the ticket that an operator removed, among all resulting events."""
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
    """Convert an event to its record. Rejections have none: they change nothing, so no outbox keeps them."""
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
    """Convert a record written by `to_record` or by a script; a script's rejection has a code and how the ticket ended."""
    kind, conversation_id, number, request_id, holder, at_ms, reply_to, correlation_id, user_id, trace, again, *rest = (
        record
    )
    sender = Sender(reply_to or None, correlation_id or None, user_id or None, trace or None)
    return _BUILD[kind](
        *rest,
        conversation_id=conversation_id,
        number=None if int(number) < 0 else int(number),  # Lua writes numbers of more than 14 digits as text
        request_id=request_id or None,
        holder=holder or None,
        at_ms=at_ms,
        to=sender,
        repeated=bool(again),
    )


UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)
"""The exceptions that reading an invalid record may raise."""


def checked_event(record: Any) -> Event:
    """Convert an untrusted record, checking everything. Raises one of UNREADABLE."""
    if not isinstance(record, list):
        message = f"a record is a list, not {type(record).__name__}"
        raise TypeError(message)
    event = from_record(record)
    for name in _ALL_TEXTS:
        _check_value(name, getattr(event, name), str)
    for name in _SENDER_TEXTS:
        _check_value(name, getattr(event.to, name), str)
    for name in _ALL_NUMBERS:
        _check_value(name, getattr(event, name), int)
    for name, kind in _OWN_TYPES[type(event)]:
        _check_value(name, getattr(event, name), kind)
    if event.number is not None and event.number > _WHOLE_MAX:
        message = f"number: at most {_WHOLE_MAX}"
        raise ValueError(message)
    return event


def _check_value(name: str, value: Any, kind: type) -> None:
    if value is None and name not in ("conversation_id", "at_ms"):
        return
    if type(value) is not kind:
        message = f"{name}: {kind.__name__} expected, not {type(value).__name__}"
        raise TypeError(message)
    if isinstance(value, str):
        value.encode()  # unpaired surrogates cannot be encoded


def recorded_at_ms(record: list[Any]) -> int:
    """Return the time of a record's event."""
    return int(record[5])


def to_history(event: Event) -> list[Any]:
    """Convert an event to a history entry: its type, number, request id, holder, time, and type-specific fields."""
    record = to_record(event)
    return [record[0], *record[2:6], *record[_OWN:]]


def from_history(conversation_id: str, kept: list[Any]) -> Event:
    """Convert a history entry written by `to_history` or by a script."""
    kind, number, request_id, holder, at_ms, *own = kept
    return from_record([kind, conversation_id, number, request_id, holder, at_ms, "", "", "", "", 0, *own])


def happened_at_ms(kept: list[Any]) -> int:
    """Return the time of a history entry's event."""
    return int(kept[4])
