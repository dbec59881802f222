"""Removes the data of a Redis store that is no longer used: found by SCAN, displayed, and deleted if still unchanged."""

import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self, TypeVar

from lockstore.errors import ConfigError, ConversationError
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.options import OLD_CONCURRENT_TYPE, RASA_CONCURRENT_TYPE, RASA_REDIS_TYPE
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.connection.section import redis_credentials, redis_options
from lockstore.stores.redis.key_ownership import Name, StoreName, is_own_text, names_of, rasas_lock

__all__ = ["Deleted", "Found", "Purge", "Sample", "StoreName"]

T = TypeVar("T")

_KINDS: dict[str, StoreName] = {
    "redis": "redis",
    "concurrent_redis": "concurrent_redis",
    OLD_CONCURRENT_TYPE: "concurrent_redis",
    RASA_REDIS_TYPE: "redis",
    RASA_CONCURRENT_TYPE: "concurrent_redis",
}

_PURGE = load("purge")
_SCAN_COUNT = 1000  # keys per step of SCAN
_PARTS_AT_ONCE = 500  # lines per batch of deletions, which Ctrl-C has to wait for
_TEXT_MAX_BYTES = 16 * 1024 * 1024  # largest value that is inspected; a lock with 1000 tickets has about 1 MiB
_TEXTS_MAX_BYTES = 2 * _TEXT_MAX_BYTES  # values fetched together
_EXAMPLES = 2


@dataclass(slots=True)
class Sample:
    """A count of keys, and one or two examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        """Count a key."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(key)


@dataclass(slots=True)
class Found:
    """The result of scanning Redis."""

    kinds: dict[str, Sample]
    """The store's keys, by kind."""
    now_s: float
    """Redis' clock when the scan began, ms."""
    others: dict[str, Sample] = field(default_factory=dict)
    """Keys named like the store's that are not its own, by reason. They are not deleted."""
    live_tickets: int = 0
    """Tickets that had not ended at that time."""
    lines: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    """By conversation: its keys, each with its state in the form that purge.lua compares."""
    shared: dict[str, str] = field(default_factory=dict, repr=False)
    """The keys shared by all conversations, likewise."""
    met: set[bytes] = field(default_factory=set, repr=False)
    """Every key inspected: SCAN may return a key twice."""

    @property
    def keys(self) -> int:
        """The number of the store's keys."""
        return sum(sample.count for sample in self.kinds.values())

    def take(self, key: str, name: Name, stood: str) -> None:
        """Record a key of the store."""
        self.kinds[name.kind].add(key)
        part = self.shared if name.conversation_id is None else self.lines.setdefault(name.conversation_id, {})
        part[key] = stood

    def leave(self, why: str, key: str) -> None:
        """Record a key of another program."""
        self.others.setdefault(why, Sample()).add(key)

    def judge_text(self, key: str, name: Name, value: bytes) -> None:
        """Record whether the store wrote a string."""
        if name.kind == "lock":
            lock = rasas_lock(name.conversation_id, value)
            if isinstance(lock, str):
                self.leave(lock, key)
                return
            self.live_tickets += sum(ticket.expires > self.now_s for ticket in lock.tickets)
        elif not is_own_text(name.kind, value):
            self.leave(f"the value is not a {name.kind} of this store", key)
            return
        self.take(key, name, hashlib.sha1(value, usedforsecurity=False).hexdigest())


@dataclass(slots=True)
class Deleted:
    """The progress of a deletion."""

    keys: int = 0
    left: Sample = field(default_factory=Sample)
    """Keys that were kept because their line has changed since the scan."""


class Purge:
    """Finds and deletes the data of a store: `async with`, `look`, then `delete`."""

    def __init__(self, section: Mapping[str, Any], store: StoreName, environ: Mapping[str, str]) -> None:
        """`section` configures the store in use. Raises ConfigError if `store` must not be purged."""
        _check_other(section, store)
        self.options = redis_options({name: value for name, value in section.items() if name != "type"})
        self._names = names_of(store, self.options)
        # With wait_replicas, a mark would be written next to the keys being deleted.
        options = self.options.model_copy(update={"wait_replicas": 0})
        self._servers = RedisClient(options, [_PURGE], self._names.mark_of, redis_credentials(options, environ))

    async def __aenter__(self) -> Self:
        """Connect. Raises ConfigError or StoreUnavailableError."""
        try:
            await self._servers.open()
        except BaseException:
            await self._servers.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._servers.close()

    # --- looking ----------------------------------------------------------------------------------------------------

    async def look(self) -> AsyncGenerator[Found, None]:
        """Scan all keys, yielding the same object with the results so far. Raises StoreUnavailableError."""
        clocks = await self._servers.ask_each("TIME")
        now_s = min(seconds + micros / 1e6 for seconds, micros in clocks)
        found = Found({kind: Sample() for kind in self._names.types}, now_s)
        async for page in self._servers.pages(self._names.pattern):
            await self._judge(page, found)
            yield found
        # The tickets of concurrent_redis; those of Rasa's locks were counted during the scan.
        deadlines = [("ZCOUNT", key, now_s * 1000, "+inf") for key in found.shared if key.endswith("}:deadlines")]
        counts = await self._servers.ask_all(deadlines)
        found.live_tickets += sum(count for count in counts if isinstance(count, int))
        yield found

    async def _judge(self, page: Sequence[bytes], found: Found) -> None:
        """Separate the store's keys from other programs' keys. Keys deleted meanwhile are ignored."""
        named = list(self._named(page, found))
        asked = [command for key, _ in named for command in (("TYPE", key), ("STRLEN", key))]
        replies = await self._servers.ask_all(asked)
        texts = []
        for (key, name), kind, size in zip(named, replies[::2], replies[1::2], strict=True):
            kind_found, wanted = kind.decode(), self._names.types[name.kind]
            if kind_found not in (wanted, "none"):
                found.leave(f"its type is {kind_found}, not {wanted}", key)
            elif kind_found not in ("string", "none"):
                found.take(key, name, kind_found)
            elif isinstance(size, int) and size > _TEXT_MAX_BYTES:
                found.leave(f"the value is larger than {_TEXT_MAX_BYTES // 1024**2} MiB", key)
            elif isinstance(size, int) and kind_found == "string":
                texts.append((size, key, name))
        for group in _together(texts):
            values = await self._servers.ask_all([("GET", key) for _, key, _ in group])
            for (_, key, name), value in zip(group, values, strict=True):
                if isinstance(value, bytes):
                    found.judge_text(key, name, value)

    def _named(self, page: Iterable[bytes], found: Found) -> Iterator[tuple[str, Name]]:
        """Yield the keys with names that the store uses."""
        for raw in page:
            if raw in found.met:
                continue
            found.met.add(raw)
            try:
                key = raw.decode()
            except UnicodeDecodeError:
                found.leave("the name is not UTF-8", raw.decode(errors="backslashreplace"))
                continue
            if not key.startswith(self._names.starts):
                continue
            name = self._names.name_of(key)
            if name is None:
                found.leave("the store does not use such a name", key)
            else:
                yield key, name

    # --- deleting ---------------------------------------------------------------------------------------------------

    async def delete(self, found: Found) -> AsyncGenerator[Deleted, None]:
        """Delete what was found, yielding the same object with the progress. Raises StoreUnavailableError.

        A line that has changed since the scan is kept, and so are the shared keys, because the store is in use.
        Iteration may stop after any step: a line is deleted completely or not at all.
        """
        deleted = Deleted()
        for lines in _batches(found.lines.items(), _PARTS_AT_ONCE):
            await self._remove([self._with_absent(*line, found.met) for line in lines], deleted)
            yield deleted
        for shared in _batches(found.shared.items(), _PARTS_AT_ONCE):
            if deleted.left.count:
                for key, _ in shared:
                    deleted.left.add(key)
            else:
                await self._remove([{key: stood} for key, stood in shared], deleted)
            yield deleted

    def _with_absent(self, conversation_id: str, line: dict[str, str], met: set[bytes]) -> dict[str, str]:
        """Add the keys of a line that did not exist."""
        return line | {key: "" for key in self._names.line(conversation_id) if key.encode() not in met}

    async def _remove(self, parts: Sequence[dict[str, str]], deleted: Deleted) -> None:
        """Delete the keys of each part, unless one of them has changed."""
        calls = [Call(_PURGE, tuple(part), tuple(part.values())) for part in parts]
        for part, reply in zip(parts, await self._servers.run_all(calls), strict=True):
            if not isinstance(reply, ConversationError) and reply >= 0:
                deleted.keys += reply
                continue
            for key in (key for key, stood in part.items() if stood):
                deleted.left.add(key)


def _check_other(section: Mapping[str, Any], store: StoreName) -> None:
    """Refuse to purge the store in use, or a configuration without Redis. Raises ConfigError."""
    kind = section.get("type") or "in_memory"
    if not isinstance(kind, str) or kind not in _KINDS:
        message = (
            f"lock_store.type: is {kind!r}, which names no Redis server; purge needs the section of the store "
            "in use, redis or concurrent_redis, and deletes the data that the other of the two has left there"
        )
        raise ConfigError(message)
    if _KINDS[kind] == _KINDS[store]:
        message = (
            f"lock_store.type: the store {store} is in use by this configuration and is not purged; purge deletes the data "
            "that the other store has left after a change of the type"
        )
        raise ConfigError(message)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _together(texts: Iterable[tuple[int, str, Name]]) -> Iterator[list[tuple[int, str, Name]]]:
    """Group values that may be fetched together."""
    group: list[tuple[int, str, Name]] = []
    total = 0
    for text in texts:
        if group and total + text[0] > _TEXTS_MAX_BYTES:
            yield group
            group, total = [], 0
        group.append(text)
        total += text[0]
    if group:
        yield group
