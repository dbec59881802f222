"""Isolation: after a connection that ended while a frame was read, a partition's messages are taken one by one.

Whatever a publisher writes, `lockstore/amqp/frame_filter.py` makes it readable. This is for what nobody thought of: RabbitMQ
delivers all messages of the connection that ended again, and counts that. With one message on the way at a time, only the
one that ends the connection is delivered again and again. It is recognised by the bytes of its content header, not by its
place (RabbitMQ puts it behind the others); when it has ended two connections, it is refused without being decoded, and
RabbitMQ puts it among the dead letters. No input or output.
"""

from dataclasses import dataclass, field

from daemon.monitoring.batch_report import BatchReport
from lockstore.amqp.message_identity import Identity, delivery_count, identity_of

__all__ = ["Isolation"]

_ENDS_MOST = 2  # connections that a message may end before it is refused
_SUSPECTS_MOST = 1000


@dataclass(slots=True)
class _Suspect:
    """A message that was being read when a connection ended."""

    ends: int = 0
    count: int = 0  # of its deliveries, as RabbitMQ said the last time


@dataclass(slots=True)
class _Isolated:
    """A partition whose messages are taken one by one."""

    left: int  # messages that were, or may have been, on the way when the connection ended
    suspects: dict[Identity, _Suspect] = field(default_factory=dict)


class Isolation:
    """The isolated partitions of one process."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Isolated] = {}

    @property
    def partitions(self) -> list[int]:
        """The partitions whose messages are taken one by one."""
        return sorted(self._partitions)

    def is_isolated(self, partition: int) -> bool:
        """Return whether its messages are taken one at a time."""
        return partition in self._partitions

    def is_unwanted(self, partition: int, header: bytes) -> bool:
        """Return whether the message with this raw content header is to be refused undecoded."""
        found = self._partitions.get(partition)
        suspect = None if found is None else found.suspects.get(identity_of(header))
        # The count: another message may have the same header, and did no harm.
        return suspect is not None and suspect.ends >= _ENDS_MOST and delivery_count(header) >= suspect.count

    def ended(self, partition: int, prefetch: int, header: bytes) -> None:
        """Record that a connection ended while a frame of this partition was being read.

        `prefetch`: how many messages may have been on the way. `header`: the content header that was read last.
        """
        found = self._partitions.setdefault(partition, _Isolated(prefetch))
        if len(found.suspects) < _SUSPECTS_MOST:
            suspect = found.suspects.setdefault(identity_of(header), _Suspect())
            suspect.ends += 1
            suspect.count = delivery_count(header)

    def served(self, batch: BatchReport) -> None:
        """Record that messages were acknowledged; an observer of batches."""
        if batch.partition is not None:
            self.passed(batch.partition, batch.messages)

    def passed(self, partition: int, messages: int = 1) -> None:
        """Record that messages of a partition are finished, served or refused."""
        found = self._partitions.get(partition)
        if found is not None:
            found.left -= messages
            if found.left <= 0:
                self.end(partition)

    def end(self, partition: int) -> None:
        """End the isolation."""
        self._partitions.pop(partition, None)
