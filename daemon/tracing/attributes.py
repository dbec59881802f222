"""Span attributes: OpenTelemetry's messaging conventions where they fit, otherwise prefixed `lockstore.`. Pure."""

from typing import Any

from daemon.monitoring.batch_report import BatchReport
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Rejected, Released, is_public
from lockstore.protocol.codec import message_id, type_of
from lockstore.protocol.naming import Names

__all__ = ["error_type_of", "event_attributes", "publish_attributes", "store_attributes", "ticket_attributes"]

Attributes = dict[str, Any]

_MESSAGING: Attributes = {"messaging.system": "rabbitmq"}
_WANTED = frozenset({"holder", "requester"})  # reasons for which a ticket ends as intended


def ticket_attributes(event: Event) -> Attributes:
    """Return the attributes that identify the ticket."""
    named = {
        "lockstore.conversation": event.conversation_id,
        "lockstore.core.ticket": event.number,
        "lockstore.request": event.request_id,
        "lockstore.holder": event.holder,
        "messaging.message.conversation_id": event.to.correlation_id,
    }
    return {name: value for name, value in named.items() if value is not None}


def event_attributes(event: Event) -> Attributes:
    """Return the attributes that describe the event."""
    attributes = ticket_attributes(event)
    if event.repeated:
        attributes["lockstore.repeated"] = True
    match event:
        case Queued():
            attributes["lockstore.position"] = event.position
        case Granted():
            attributes |= {"lockstore.waited_ms": event.waited_ms, "lockstore.behind": event.behind}
        case Released():
            attributes |= {"lockstore.held_ms": event.held_ms, "lockstore.reason": event.reason}
        case Expired():
            attributes["lockstore.phase"] = event.phase
        case Cancelled() | Rejected():
            attributes["lockstore.reason"] = event.reason
    return attributes


def store_attributes(batch: BatchReport, names: Names) -> Attributes:
    """Return the messages that the store processed together; none if a deadline expired."""
    if batch.partition is None:
        return {}
    return _MESSAGING | {
        "messaging.operation.name": "store",
        "messaging.operation.type": "process",
        "messaging.destination.name": names.request_queue(batch.partition),
        "messaging.destination.partition.id": str(batch.partition),
        "messaging.batch.message_count": batch.messages,
    }


def publish_attributes(event: Event, names: Names) -> Attributes:
    """Return where the event was published: to the requester's queue if there is one, otherwise to the public exchange."""
    attributes = _MESSAGING | {
        "messaging.operation.name": "announce",
        "messaging.operation.type": "send",
        "messaging.message.id": message_id(event),
    }
    if event.to.reply_to:
        attributes["messaging.destination.name"] = event.to.reply_to
        attributes["messaging.destination.anonymous"] = event.to.reply_to.startswith("amq.")
    elif is_public(event):
        attributes["messaging.destination.name"] = names.events
        attributes["messaging.rabbitmq.destination.routing_key"] = f"{type_of(event)}.{event.conversation_id}"
    return attributes


def error_type_of(event: Event) -> str | None:
    """Return the error type of an event, or None: for the span's status and `error.type`."""
    match event:
        case Rejected():
            return event.reason
        case Expired():
            return "expired"
        case Released() | Cancelled():
            return None if event.reason in _WANTED else event.reason
        case _:
            return None
