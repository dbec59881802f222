"""What is said on spans: OpenTelemetry's names for messaging where they fit, `lockstore.` before ours. Pure."""

from typing import Any

from daemon.monitoring.batch_report import BatchReport
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Rejected, Released, is_public
from lockstore.protocol.codec import message_id, type_of
from lockstore.protocol.naming import Names

__all__ = ["announcing", "fault_of", "storing", "telling", "whose"]

Attributes = dict[str, Any]

_MESSAGING: Attributes = {"messaging.system": "rabbitmq"}
_WANTED = frozenset({"holder", "requester"})  # reasons of an end that somebody wanted who had the right to


def whose(event: Event) -> Attributes:
    """Name the ticket."""
    named = {
        "lockstore.conversation": event.conversation_id,
        "lockstore.core.ticket": event.number,
        "lockstore.request": event.request_id,
        "lockstore.holder": event.holder,
        "messaging.message.conversation_id": event.to.correlation_id,
    }
    return {name: value for name, value in named.items() if value is not None}


def telling(event: Event) -> Attributes:
    """Say what happened to the ticket."""
    said = whose(event)
    if event.repeated:
        said["lockstore.repeated"] = True
    match event:
        case Queued():
            said["lockstore.position"] = event.position
        case Granted():
            said |= {"lockstore.waited_ms": event.waited_ms, "lockstore.behind": event.behind}
        case Released():
            said |= {"lockstore.held_ms": event.held_ms, "lockstore.reason": event.reason}
        case Expired():
            said["lockstore.phase"] = event.phase
        case Cancelled() | Rejected():
            said["lockstore.reason"] = event.reason
    return said


def storing(batch: BatchReport, names: Names) -> Attributes:
    """Say which messages the store worked on at once; none, where a deadline came by itself."""
    if batch.partition is None:
        return {}
    return _MESSAGING | {
        "messaging.operation.name": "store",
        "messaging.operation.type": "process",
        "messaging.destination.name": names.request_queue(batch.partition),
        "messaging.destination.partition.id": str(batch.partition),
        "messaging.batch.message_count": batch.messages,
    }


def announcing(event: Event, names: Names) -> Attributes:
    """Say where the event was published to: the requester's queue if there is one, and else where the public listens."""
    said = _MESSAGING | {
        "messaging.operation.name": "announce",
        "messaging.operation.type": "send",
        "messaging.message.id": message_id(event),
    }
    if event.to.reply_to:
        said["messaging.destination.name"] = event.to.reply_to
        said["messaging.destination.anonymous"] = event.to.reply_to.startswith("amq.")
    elif is_public(event):
        said["messaging.destination.name"] = names.events
        said["messaging.rabbitmq.destination.routing_key"] = f"{type_of(event)}.{event.conversation_id}"
    return said


def fault_of(event: Event) -> str | None:
    """Say in one word what went wrong, or None: for a status, and for `error.type`."""
    match event:
        case Rejected():
            return event.reason
        case Expired():
            return "expired"
        case Released() | Cancelled():
            return None if event.reason in _WANTED else event.reason
        case _:
            return None
