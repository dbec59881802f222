"""Key names of both Redis stores. Conversation ids are used literally, never as patterns."""

import binascii
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

from redis.crc import key_slot

__all__ = ["SHARDS", "SLOTS", "ConcurrentKeys", "RedisKeys", "ValueKeys"]

SHARDS = 64
"""The number of hash tags of the concurrent store: CRC16 of the conversation id modulo 64. Changing it would lose data."""

SLOTS = 16384
"""Hash slots of a Redis Cluster."""


class ValueKeys(NamedTuple):
    """The keys of one conversation in the `redis` store."""

    lock: str  # Rasa's: JSON of the line
    last: str  # the last number issued; never deleted
    memo: str  # JSON: finished requests, unpublished events


@cache
def _slot_tags() -> dict[int, str]:
    """Return a short text for each hash slot that hashes to it."""
    tags: dict[int, str] = {}
    candidate = 0
    while len(tags) < SLOTS:
        text = f"{candidate:x}"
        tags.setdefault(key_slot(text.encode()), text)
        candidate += 1
    return tags


@dataclass(frozen=True)
class RedisKeys:
    """Key names of the `redis` store. Data that Rasa does not know is kept in keys of our own, in the same hash slot."""

    prefix: str | None = None
    clustered: bool = False
    """Whether shared data is kept per hash slot, because a script cannot reach beyond its slot."""

    @cached_property
    def _start(self) -> str:
        return f"{self.prefix}:" if self.prefix else ""

    @property
    def lock_start(self) -> str:
        """The common prefix of Rasa's keys."""
        return f"{self._start}lock:"

    def of(self, conversation_id: str) -> ValueKeys:
        """Return one conversation's keys."""
        lock = self.lock_start + conversation_id
        tag = _slot_tags()[key_slot(lock.encode())]
        start = f"{self._start}lockstore:"
        return ValueKeys(lock, f"{start}last:{{{tag}}}:{conversation_id}", f"{start}memo:{{{tag}}}:{conversation_id}")

    def slot_of(self, conversation_id: str) -> int:
        """Return the key of a conversation's agenda and history: its hash slot in a cluster, else 0."""
        return key_slot((self.lock_start + conversation_id).encode()) if self.clustered else 0

    def agenda(self, slot: int) -> str:
        """Return the sorted set of lines by the time (ms) at which they are to be checked."""
        return self._of_slot("agenda", slot)

    def history(self, slot: int) -> str:
        """Return the hash that records under which replication id numbers were issued."""
        return self._of_slot("history", slot)

    @property
    def slots(self) -> str:
        """The bitmap of slots that have an agenda; only in a cluster."""
        return f"{self._start}lockstore:slots"

    def mark_of(self, key: str) -> str:
        """Return a key in the same slot that may be overwritten."""
        return self._of_slot("mark", key_slot(key.encode()) if self.clustered else 0)

    def _of_slot(self, what: str, slot: int) -> str:
        name = f"{self._start}lockstore:{what}"
        return f"{name}:{{{_slot_tags()[slot]}}}" if self.clustered else name

    @property
    def channel(self) -> str:
        """The pub/sub channel for hints."""
        return f"{self._start}lockstore:hints"


@dataclass(frozen=True)
class ConcurrentKeys:
    """Key names of the `concurrent_redis` store: `[<prefix>:]concurrent_lock:{<shard>}:<kind>[:<conversation id>]`."""

    prefix: str | None = None

    @cached_property
    def _starts(self) -> list[str]:
        start = f"{self.prefix}:" if self.prefix else ""
        return [f"{start}concurrent_lock:{{{shard}}}:" for shard in range(SHARDS)]

    @staticmethod
    def shard_of(conversation_id: str) -> int:
        """Return the shard of a conversation: CRC16 (XMODEM, as in Redis Cluster) modulo 64."""
        return binascii.crc_hqx(conversation_id.encode(), 0) % SHARDS

    def of_line(self, conversation_id: str, shard: int) -> tuple[str, ...]:
        """Return the keys of every command on a line: six of its own, then five of its shard, in the order of lua/_line.lua."""
        start = self._starts[shard]
        return (
            f"{start}last:{conversation_id}",
            f"{start}line:{conversation_id}",
            f"{start}tickets:{conversation_id}",
            f"{start}requests:{conversation_id}",
            f"{start}ended:{conversation_id}",
            f"{start}events:{conversation_id}",
            *self._of_shards[shard],
        )

    @cached_property
    def _of_shards(self) -> list[tuple[str, ...]]:
        kinds = ("deadlines", "outbox", "history", "lines", "waiting")
        return [tuple(start + kind for kind in kinds) for start in self._starts]

    def history(self, shard: int) -> str:
        """Return the hash that records under which replication id numbers were issued."""
        return f"{self._starts[shard]}history"

    def of_shard(self, shard: int) -> tuple[str, str]:
        """Return the keys of a shard that a patrol reads: deadlines, outbox."""
        deadlines, outbox, *_ = self._of_shards[shard]
        return deadlines, outbox

    def of_index(self, shard: int) -> tuple[str, str, str]:
        """Return the index of a shard's lines: deadlines, lines, waiting."""
        deadlines, _, _, lines, waiting = self._of_shards[shard]
        return deadlines, lines, waiting

    @staticmethod
    def mark_of(key: str) -> str:
        """Return a key in the same slot that may be overwritten."""
        return key[: key.index("}:") + 2] + "mark"

    @cached_property
    def channel(self) -> str:
        """The pub/sub channel for hints."""
        return f"{self.prefix}:concurrent_lock:hints" if self.prefix else "concurrent_lock:hints"
