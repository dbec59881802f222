"""Exchange and queue names, and the partition of a conversation. Specified in docs/protocol.md."""

import zlib
from dataclasses import dataclass

__all__ = ["Names", "partition_of"]


@dataclass(frozen=True, slots=True)
class Names:
    """The names on the broker within one namespace."""

    namespace: str = "lockstore"

    @property
    def requests(self) -> str:
        """The direct exchange for requests, and the prefix of the request queues."""
        return f"{self.namespace}.requests"

    @property
    def events(self) -> str:
        """The topic exchange of the public events."""
        return f"{self.namespace}.events"

    @property
    def dead_letters(self) -> str:
        """The exchange and the queue for messages that could not be served."""
        return f"{self.namespace}.dead-letters"

    def request_queue(self, partition: int) -> str:
        """Return the name of a partition's queue."""
        return f"{self.requests}.{partition}"


def partition_of(conversation_id: str, partitions: int) -> int:
    """Return the partition that serves a conversation; as text it is the routing key of its messages."""
    return zlib.crc32(conversation_id.encode()) % partitions if partitions > 1 else 0
