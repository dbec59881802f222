"""Decodes a delivery into a command or a rejection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiormq.abc import DeliveredMessage

from daemon.serving.dead_letter import DeadLetter
from lockstore.amqp.content_header import Notes, take_notes
from lockstore.core.commands import Release, Renew, Request
from lockstore.core.events import Rejected
from lockstore.core.ticket import NO_SENDER, Sender
from lockstore.errors import MessageError
from lockstore.protocol.codec import BODY_MAX_BYTES, PartialMessage, RequestLimits, decode
from lockstore.protocol.naming import partition_of

__all__ = ["DecodedDelivery", "Decoder"]

_TRACEPARENT_MAX = 128  # W3C's is 55 characters; later versions may be longer
_DETAIL_MAX = 500  # characters of a rejection's detail

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DecodedDelivery:
    """A delivery, and its command or its rejection."""

    delivery: DeliveredMessage
    command: Request | Release | Renew | None
    rejected: Rejected | None
    notes: Notes

    @property
    def tag(self) -> int:
        """The delivery tag."""
        return self.delivery.delivery_tag or 0

    def as_dead_letter(self, rejected: Rejected) -> DeadLetter:
        """Return the dead letter for this delivery."""
        properties = self.delivery.header.properties
        return DeadLetter(self.delivery.body, properties, self.notes, rejected.reason, rejected.detail)


def _traceparent(headers: Mapping[str, Any] | None) -> str | None:
    value = headers.get("traceparent") if headers else None
    return value if isinstance(value, str) and 0 < len(value) <= _TRACEPARENT_MAX and value.isprintable() else None


def _sender(delivery: DeliveredMessage) -> Sender:
    properties = delivery.header.properties
    return Sender(
        properties.reply_to or None,
        properties.correlation_id or None,
        properties.user_id or None,
        _traceparent(properties.headers),
    )


class Decoder:
    """Decodes the deliveries of one partition."""

    def __init__(self, bounds: RequestLimits, partition: int, partitions: int) -> None:
        self._bounds = bounds
        self._partition = partition
        self._partitions = partitions

    def read(self, delivery: DeliveredMessage, at_ms: int) -> DecodedDelivery:
        """Decode one delivery. `at_ms`: the time of a rejection that does not come from the store. Never raises."""
        notes, sender = Notes(), NO_SENDER
        try:
            notes = take_notes(delivery.header)
            sender = _sender(delivery)
            command = self._command(delivery, sender, notes)
        except MessageError as error:
            return DecodedDelivery(delivery, None, self._refusal(delivery, sender, error, at_ms), notes)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not block other messages
            _log.error("message.undecodable", partition=self._partition, exc_info=True)
            fault = MessageError("invalid", f"the message cannot be decoded: {type(error).__name__}")
            return DecodedDelivery(delivery, None, self._refusal(delivery, sender, fault, at_ms), notes)
        return DecodedDelivery(delivery, command, None, notes)

    def _command(self, delivery: DeliveredMessage, sender: Sender, notes: Notes) -> Request | Release | Renew:
        if notes.body_size is not None:
            detail = f"body: must be at most {BODY_MAX_BYTES} bytes"
            raise MessageError("too_large", detail)
        if notes.unreadable:
            raise MessageError("invalid", "; ".join(notes.unreadable)[:_DETAIL_MAX])
        if delivery.header.properties.priority:
            # RabbitMQ 4 delivers it before others of its line; so that nobody relies on that, it is refused on every version.
            raise MessageError("invalid", "priority: must be absent or 0: requests are served in order")
        command = decode(delivery.body, delivery.header.properties.message_id, sender, self._bounds)
        right = partition_of(command.conversation_id, self._partitions)
        if right != self._partition and self._partitions > 1:
            detail = f"conversation_id: belongs to partition {right} of {self._partitions}, not {self._partition}"
            raise MessageError("wrong_partition", detail)
        return command

    def _refusal(self, delivery: DeliveredMessage, sender: Sender, error: MessageError, at_ms: int) -> Rejected:
        try:
            found = PartialMessage.of(delivery.body, delivery.header.properties.message_id)
        except Exception:  # noqa: BLE001 - likewise
            found = PartialMessage()
        if sender.correlation_id is None and found.request_id is not None:
            sender = Sender(sender.reply_to, found.request_id, sender.user_id, sender.traceparent)
        return Rejected(
            conversation_id=found.conversation_id or "",
            number=found.number,
            request_id=found.request_id,
            holder=None,
            at_ms=at_ms,
            to=sender,
            reason=error.reason,
            detail=error.detail,
            partitions=self._partitions if error.reason == "wrong_partition" else None,
        )
