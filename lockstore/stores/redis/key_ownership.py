"""Which keys belong to a Redis store, judged by their exact names, types and content.

A name alone proves little: many programs use keys such as `lock:...`. A key belongs to a store only if the store
creates keys of this name, its type matches, and its content is what the store would write.
"""

import json
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from redis.crc import key_slot

from lockstore.core.ticket import TicketLock
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.keys import SHARDS, SLOTS, ConcurrentKeys, RedisKeys

__all__ = ["ConcurrentNames", "Name", "RedisNames", "StoreName", "is_own_text", "names_of", "rasas_lock"]

StoreName = Literal["redis", "concurrent_redis"]
"""The stores that keep data in Redis, as in the option `type`."""

_LOCK_FIELDS = {"conversation_id", "tickets"}
_MEMO_FIELDS = {"ended", "outbox", "history", "claims"}
_NUMBER = re.compile(rb"[0-9]{1,19}")
_DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)  # raised when parsing JSON written by other programs


class Name(NamedTuple):
    """A key's name, parsed."""

    kind: str
    conversation_id: str | None
    """None if the key belongs to all conversations."""


class RedisNames:
    """Key names of the `redis` store: Rasa's, and our additional ones."""

    types: Mapping[str, str] = {
        "lock": "string",
        "last": "string",
        "memo": "string",
        "agenda": "zset",
        "history": "hash",
        "slots": "string",
        "mark": "string",
    }

    def __init__(self, options: RedisOptions) -> None:
        self._keys = RedisKeys(options.key_prefix, options.deployment_mode == "cluster")
        self._lock_start = self._keys.lock_start
        start = self._lock_start.removesuffix("lock:")
        self.own_start = f"{start}lockstore:"
        self.starts = (self._lock_start, self.own_start)
        self.pattern = f"{start}lock*"
        self.mark_of = self._keys.mark_of

    def name_of(self, key: str) -> Name | None:
        """Parse a key's name. Returns None if this store does not use such a name."""
        if key.startswith(self._lock_start):
            return Name("lock", key.removeprefix(self._lock_start))
        kind, _, rest = key.removeprefix(self.own_start).partition(":")
        if kind in ("last", "memo"):
            conversation_id = rest.partition("}:")[2]
            return Name(kind, conversation_id) if key in self.line(conversation_id) else None
        return Name(kind, None) if key in self._shared_beside(key) else None

    def line(self, conversation_id: str) -> tuple[str, ...]:
        """Return all keys of one conversation. They are in one hash slot."""
        return self._keys.of(conversation_id)

    def _shared_beside(self, key: str) -> tuple[str, ...]:
        """Return the keys shared by all conversations, or by all conversations of this key's slot."""
        slot = key_slot(key.encode()) if self._keys.clustered else 0
        slots = (self._keys.slots,) if self._keys.clustered else ()
        return (self._keys.agenda(slot), self._keys.history(slot), self._keys.mark_of(key), *slots)


class ConcurrentNames:
    """Key names of the `concurrent_redis` store."""

    types: Mapping[str, str] = {
        "last": "string",
        "line": "zset",
        "tickets": "hash",
        "requests": "hash",
        "ended": "list",
        "events": "list",
        "deadlines": "zset",
        "outbox": "stream",
        "history": "hash",
        "lines": "zset",
        "waiting": "zset",
        "mark": "string",
    }
    _of_line = 6  # the first six kinds belong to one conversation

    def __init__(self, options: RedisOptions) -> None:
        self._keys = ConcurrentKeys(options.key_prefix)
        start = self._keys.channel.removesuffix("hints")
        self.starts = (start,)
        self.pattern = f"{start}*"
        self.mark_of = self._keys.mark_of
        shards = [self._keys.of_line("", shard)[self._of_line :] for shard in range(SHARDS)]
        self._shared = {key for keys in shards for key in (*keys, self.mark_of(keys[0]))}

    def name_of(self, key: str) -> Name | None:
        """Parse a key's name. Returns None if this store does not use such a name."""
        kind, _, conversation_id = key.partition("}:")[2].partition(":")
        if key in self._shared:
            return Name(kind, None)
        return Name(kind, conversation_id) if key in self.line(conversation_id) else None

    def line(self, conversation_id: str) -> tuple[str, ...]:
        """Return all keys of one conversation. They are in one hash slot."""
        return self._keys.of_line(conversation_id, self._keys.shard_of(conversation_id))[: self._of_line]


def names_of(store: StoreName, options: RedisOptions) -> RedisNames | ConcurrentNames:
    """Return the key names of a store with these options."""
    return RedisNames(options) if store == "redis" else ConcurrentNames(options)


def rasas_lock(conversation_id: str | None, value: bytes) -> TicketLock | str:
    """Parse a lock in Rasa's format, including our tickets; return a reason if it is not this conversation's lock."""
    try:
        data = json.loads(value.decode())
        is_lock = data.keys() == _LOCK_FIELDS and isinstance(data["tickets"], list)
        lock = TicketLock.from_dict(data) if is_lock else None
    except _DAMAGED:
        lock = None
    if lock is None:
        return "the value is not a Rasa lock"
    return lock if lock.conversation_id == conversation_id else "the lock belongs to another conversation"


def is_own_text(kind: str, value: bytes) -> bool:
    """Return whether a store writes such a value into a key of this kind. `rasas_lock` checks locks."""
    match kind:
        case "last":
            return _NUMBER.fullmatch(value) is not None
        case "memo":
            return _is_memo(value)
        case "mark":
            return value == b"1"
        case "slots":
            return len(value) <= SLOTS // 8
    return False


def _is_memo(value: bytes) -> bool:
    try:
        data = json.loads(value.decode())
        return bool(data) and data.keys() <= _MEMO_FIELDS
    except _DAMAGED:
        return False
