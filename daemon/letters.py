"""Decoding: from a delivery to a command, or to the reason why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from lockstore.commands import Release, Renew, Request
from lockstore.errors import MessageError
from lockstore.events import Rejected
from lockstore.ticket import Sender
from lockstore.wire import Bounds, Salvage, decode, partition_of

__all__ = ["Letter", "Reader"]

_TRACEPARENT_MAX = 128  # W3C's is 55 characters; later versions may be longer


@dataclass(frozen=True, slots=True)
class Letter:
    """A delivery, with what it asks for, or the rejection that it gets."""

    delivery: DeliveredMessage
    command: Request | Release | Renew | None
    rejected: Rejected | None

    @property
    def tag(self) -> int:
        """The delivery tag."""
        return self.delivery.delivery_tag or 0

    @property
    def properties(self) -> Basic.Properties:
        """The AMQP properties."""
        return self.delivery.header.properties


def _traceparent(headers: Mapping[str, Any] | None) -> str | None:
    value = headers.get("traceparent") if headers else None
    return value if isinstance(value, str) and 0 < len(value) <= _TRACEPARENT_MAX and value.isprintable() else None


class Reader:
    """Reads the deliveries of one partition."""

    def __init__(self, bounds: Bounds, partition: int, partitions: int) -> None:
        self._bounds = bounds
        self._partition = partition
        self._partitions = partitions

    def read(self, delivery: DeliveredMessage, at_ms: int) -> Letter:
        """Decode one delivery. `at_ms` dates a rejection that no store has seen."""
        properties = delivery.header.properties
        sender = Sender(
            properties.reply_to or None,
            properties.correlation_id or None,
            properties.user_id or None,
            _traceparent(properties.headers),
        )
        try:
            command = decode(delivery.body, properties.message_id, sender, self._bounds)
        except MessageError as error:
            return Letter(delivery, None, self._refusal(delivery, sender, error, at_ms))
        if self._partitions > 1:
            right = partition_of(command.conversation_id, self._partitions)
            if right != self._partition:
                detail = f"conversation_id: belongs to partition {right} of {self._partitions}, not {self._partition}"
                wrong = MessageError("wrong_partition", detail)
                return Letter(delivery, None, self._refusal(delivery, command.sender, wrong, at_ms))
        return Letter(delivery, command, None)

    def _refusal(self, delivery: DeliveredMessage, sender: Sender, error: MessageError, at_ms: int) -> Rejected:
        found = Salvage.of(delivery.body, delivery.header.properties.message_id)
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
