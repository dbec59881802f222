"""What a Redis store that is no longer used has left: found by SCAN, shown, and deleted if it is still as it was."""

import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self, TypeVar

from lockstore.errors import ConfigError, ConversationError
from lockstore.stores.redis.connection import Call, RedisClient
from lockstore.stores.redis.connection.options import OLD_CONCURRENT_TYPE
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.connection.section import redis_credentials, redis_options
from lockstore.stores.redis.key_ownership import Name, StoreName, is_own_text, names_of, rasas_lock

__all__ = ["Deleted", "Found", "Purge", "Sample", "StoreName"]

T = TypeVar("T")

_KINDS: dict[str, StoreName] = {
    "redis": "redis",
    "concurrent_redis": "concurrent_redis",
    OLD_CONCURRENT_TYPE: "concurrent_redis",
}

_PURGE = load("purge")
_SCAN_COUNT = 1000  # keys that one step of SCAN goes through
_PARTS_AT_ONCE = 500  # lines in one batch of deletions: what Ctrl-C has to wait for
_TEXT_MAX_BYTES = 16 * 1024 * 1024  # of a text that is looked into; a lock with 1000 tickets has about one MiB
_TEXTS_MAX_BYTES = 2 * _TEXT_MAX_BYTES  # of texts that are fetched together
_EXAMPLES = 2


@dataclass(slots=True)
class Sample:
    """How many keys, and one or two of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(key)


@dataclass(slots=True)
class Found:
    """What a look through Redis has brought."""

    kinds: dict[str, Sample]
    """The store's keys, by kind."""
    now_s: float
    """Redis' clock when the look began."""
    others: dict[str, Sample] = field(default_factory=dict)
    """Keys that are called like the store's and are not its own, by what gives them away. They are left alone."""
    live_tickets: int = 0
    """Tickets that have not ended by that clock."""
    lines: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    """By conversation: its keys, each with what stood there, in the form that purge.lua compares."""
    shared: dict[str, str] = field(default_factory=dict, repr=False)
    """The keys that belong to all conversations, likewise."""
    met: set[bytes] = field(default_factory=set, repr=False)
    """Every key that was looked at: SCAN may give one twice."""

    @property
    def keys(self) -> int:
        """How many keys are the store's."""
        return sum(sample.count for sample in self.kinds.values())

    def take(self, key: str, name: Name, stood: str) -> None:
        """Note a key of the store's."""
        self.kinds[name.kind].add(key)
        part = self.shared if name.conversation_id is None else self.lines.setdefault(name.conversation_id, {})
        part[key] = stood

    def leave(self, why: str, key: str) -> None:
        """Note a key of somebody else's."""
        self.others.setdefault(why, Sample()).add(key)

    def judge_text(self, key: str, name: Name, value: bytes) -> None:
        """Note whose a string is."""
        if name.kind == "lock":
            lock = rasas_lock(name.conversation_id, value)
            if isinstance(lock, str):
                self.leave(lock, key)
                return
            self.live_tickets += sum(ticket.expires > self.now_s for ticket in lock.tickets)
        elif not is_own_text(name.kind, value):
            self.leave(f"the text is no {name.kind} of this store's", key)
            return
        self.take(key, name, hashlib.sha1(value, usedforsecurity=False).hexdigest())


@dataclass(slots=True)
class Deleted:
    """How far a deletion has come."""

    keys: int = 0
    left: Sample = field(default_factory=Sample)
    """Keys that stay, because something of their line has changed since the look."""


class Purge:
    """Finds and deletes what a store has left: `async with`, look, then delete."""

    def __init__(self, section: Mapping[str, Any], store: StoreName, environ: Mapping[str, str]) -> None:
        """Take the section of the store that is in use now. Raises ConfigError where `store` must not be purged."""
        _check_other(section, store)
        self.options = redis_options({name: value for name, value in section.items() if name != "type"})
        self._names = names_of(store, self.options)
        # Where replicas are waited for, a mark would be written beside the keys that go.
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
        """Let go of connections."""
        await self._servers.close()

    # --- looking ----------------------------------------------------------------------------------------------------

    async def look(self) -> AsyncGenerator[Found, None]:
        """Go through all keys, and give what was found so far: always the same object. Raises StoreUnavailableError."""
        clocks = await self._servers.ask_each("TIME")
        now_s = min(seconds + micros / 1e6 for seconds, micros in clocks)
        found = Found({kind: Sample() for kind in self._names.types}, now_s)
        async for page in self._servers.pages(self._names.pattern):
            await self._judge(page, found)
            yield found
        # The tickets of concurrent_redis; those of Rasa's locks were counted on the way.
        deadlines = [("ZCOUNT", key, now_s * 1000, "+inf") for key in found.shared if key.endswith("}:deadlines")]
        counts = await self._servers.ask_all(deadlines)
        found.live_tickets += sum(count for count in counts if isinstance(count, int))
        yield found

    async def _judge(self, page: Sequence[bytes], found: Found) -> None:
        """Sort keys into those of the store and those of others. What has gone meanwhile is neither."""
        named = list(self._named(page, found))
        asked = [command for key, _ in named for command in (("TYPE", key), ("STRLEN", key))]
        replies = await self._servers.ask_all(asked)
        texts = []
        for (key, name), kind, size in zip(named, replies[::2], replies[1::2], strict=True):
            stands, wanted = kind.decode(), self._names.types[name.kind]
            if stands not in (wanted, "none"):
                found.leave(f"it is a {stands}, not a {wanted}", key)
            elif stands not in ("string", "none"):
                found.take(key, name, stands)
            elif isinstance(size, int) and size > _TEXT_MAX_BYTES:
                found.leave(f"the text is larger than {_TEXT_MAX_BYTES // 1024**2} MiB", key)
            elif isinstance(size, int) and stands == "string":
                texts.append((size, key, name))
        for group in _together(texts):
            values = await self._servers.ask_all([("GET", key) for _, key, _ in group])
            for (_, key, name), value in zip(group, values, strict=True):
                if isinstance(value, bytes):
                    found.judge_text(key, name, value)

    def _named(self, page: Iterable[bytes], found: Found) -> Iterator[tuple[str, Name]]:
        """Give the keys that are called as the store calls its own."""
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
                found.leave("the store gives no such name", key)
            else:
                yield key, name

    # --- deleting ---------------------------------------------------------------------------------------------------

    async def delete(self, found: Found) -> AsyncGenerator[Deleted, None]:
        """Delete what was found, and give how far that is: always the same object. Raises StoreUnavailableError.

        A line of which something has changed since the look stays as it is; so does then what belongs to all lines,
        because the store is in use. You may leave off after any step: no line is deleted by halves.
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
        """Add the keys of a line that were not there."""
        return line | {key: "" for key in self._names.line(conversation_id) if key.encode() not in met}

    async def _remove(self, parts: Sequence[dict[str, str]], deleted: Deleted) -> None:
        """Remove the keys of each part, or none of them if one has changed."""
        calls = [Call(_PURGE, tuple(part), tuple(part.values())) for part in parts]
        for part, reply in zip(parts, await self._servers.run_all(calls), strict=True):
            if not isinstance(reply, ConversationError) and reply >= 0:
                deleted.keys += reply
                continue
            for key in (key for key, stood in part.items() if stood):
                deleted.left.add(key)


def _check_other(section: Mapping[str, Any], store: StoreName) -> None:
    """Refuse to purge the store that is in use, or where no Redis is named. Raises ConfigError."""
    kind = section.get("type") or "in_memory"
    if not isinstance(kind, str) or kind not in _KINDS:
        message = (
            f"lock_store.type: is {kind!r}, which says of no Redis where it is; purge needs the section of a store "
            "that is in use, redis or concurrent_redis, and deletes what the other of the two has left there"
        )
        raise ConfigError(message)
    if _KINDS[kind] == _KINDS[store]:
        message = (
            f"lock_store.type: the store {store} is in use by this configuration and is not purged; purge deletes what "
            "the other store has left after a change of the type"
        )
        raise ConfigError(message)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _together(texts: Iterable[tuple[int, str, Name]]) -> Iterator[list[tuple[int, str, Name]]]:
    """Put texts together that may be fetched at once."""
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
