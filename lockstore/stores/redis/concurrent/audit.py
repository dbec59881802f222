"""The audit of `concurrent_redis`: each conversation is read atomically and compared with its shard's index and deadlines."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pydantic_core import from_json

from lockstore.core.statistics import UNANNOUNCED_MS
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.audit import Audited, AuditFinding, Progress, judge_lateness, judge_line
from lockstore.stores.redis.concurrent.replies import QUEUED_AT, record_age_ms, ticket_of
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.scripts import Script
from lockstore.stores.redis.key_ownership import ConcurrentNames
from lockstore.stores.redis.keys import SHARDS, ConcurrentKeys

__all__ = ["AUDIT_VERBS", "ConcurrentAudit"]

AUDIT_VERBS = ("inspect",)
"""The scripts it runs, besides those of the index."""

_TOGETHER = 100  # conversations read in one round trip
_SHARDS_TOGETHER = 8
_MEMBERS = 1000  # members of a sorted set read in one call
_KINDS = ("line", "tickets", "requests", "ended", "events")  # of keys that belong to one conversation
_FOR_EVER, _NO_KEY = -1, -2  # replies of PTTL

_Suspects = dict[str, set[str]]
"""Conversations to inspect, each with the ticket numbers for which a deadline was found."""


class ConcurrentAudit:
    """Checks the lines in the shards' index, then scans all keys for lines missing from it."""

    def __init__(
        self, keys: ConcurrentKeys, names: ConcurrentNames, servers: RedisClient, scripts: dict[str, Script]
    ) -> None:
        self._keys = keys
        self._names = names
        self._servers = servers
        self._scripts = scripts
        self._seen: set[str] = set()

    async def run(self) -> AsyncIterator[Audited]:
        """Yield findings and progress."""
        counts = await self._servers.ask_all([("ZCARD", self._keys.of_index(shard)[1]) for shard in range(SHARDS)])
        lines = sum(count for count in counts if isinstance(count, int))
        for first in range(0, SHARDS, _SHARDS_TOGETHER):
            for finding in await self._of_shards(range(first, first + _SHARDS_TOGETHER)):
                yield finding
            yield Progress("lines", len(self._seen), max(lines, len(self._seen)))
        visited = 0
        async for page in self._servers.pages(self._names.pattern):
            for finding in await self._of_keys(page):
                yield finding
            visited += len(page)
            yield Progress("keys", visited, None)

    async def _of_shards(self, shards: Sequence[int]) -> list[AuditFinding]:
        """Check the outboxes of some shards, and the conversations in their sorted sets."""
        found = await self._of_outboxes(shards)
        suspects: _Suspects = defaultdict(set)
        pending = [(shard, key, 0) for shard in shards for key in self._keys.of_index(shard)]
        while pending:
            asked = [("ZRANGE", key, place, place + _MEMBERS - 1) for _, key, place in pending]
            read, pending = list(zip(pending, await self._servers.ask_all(asked), strict=True)), []
            for (shard, key, place), members in read:
                if isinstance(members, ConversationError):
                    found.append(AuditFinding(None, "data", f"not a sorted set: {key}"))
                    continue
                found += self._take(shard, key, members, suspects)
                if len(members) == _MEMBERS:
                    pending.append((shard, key, place + _MEMBERS))
        return found + await self._inspect(suspects)

    def _take(self, shard: int, key: str, members: Sequence[bytes], suspects: _Suspects) -> list[AuditFinding]:
        """Collect the conversations that members of a sorted set name; return findings for members that do not belong there."""
        found: list[AuditFinding] = []
        deadlines, _, _ = self._keys.of_index(shard)
        for raw in members:
            member = raw.decode(errors="backslashreplace")
            number, _, name = member.partition(":") if key == deadlines else ("", "", member)
            if self._keys.shard_of(name) != shard or (key == deadlines and not number.isdigit()):
                found.append(AuditFinding(None, "name", f"{member!r} does not belong in {key}"))
            else:
                suspects[name] |= {number} - {""}
        return found

    async def _of_outboxes(self, shards: Sequence[int]) -> list[AuditFinding]:
        """Check whether the oldest event of an outbox is overdue."""
        found: list[AuditFinding] = []
        calls = [Call(self._scripts["backlog"], self._keys.of_shard(shard), ()) for shard in shards]
        for call, reply in zip(calls, await self._servers.run_all(calls), strict=True):
            outbox = call.keys[1]
            if isinstance(reply, ConversationError):
                found.append(AuditFinding(None, "data", f"{outbox}: {reply}"))
                continue
            now_ms, count, oldest, _, _ = reply
            age_ms = record_age_ms(now_ms, oldest) if oldest else 0
            if age_ms is None:
                found.append(
                    AuditFinding(
                        None, "data", f"{outbox}: its first entry is not an event; a daemon will move it aside"
                    )
                )
            elif age_ms > UNANNOUNCED_MS:
                detail = f"{count} events in {outbox} are unpublished, the oldest for {age_ms / 1000:.0f} s"
                found.append(AuditFinding(None, "outbox", detail))
        return found

    async def _of_keys(self, page: Sequence[bytes]) -> list[AuditFinding]:
        """Check keys of conversations that are missing from the index, and keys that the store does not use."""
        found: list[AuditFinding] = []
        suspects: _Suspects = {}
        for raw in page:
            key = raw.decode(errors="backslashreplace")
            name = self._names.name_of(key) if key.startswith(self._names.starts) else None
            if name is None:
                found.append(AuditFinding(None, "name", f"the store does not use such a key name: {key}"))
            elif name.kind in _KINDS and name.conversation_id is not None:
                suspects[name.conversation_id] = set()
        return found + await self._inspect(suspects)

    async def _inspect(self, suspects: _Suspects) -> list[AuditFinding]:
        """Read and check conversations that were not checked yet."""
        found: list[AuditFinding] = []
        rest = iter([(name, numbers) for name, numbers in suspects.items() if name not in self._seen])
        while some := list(islice(rest, _TOGETHER)):
            calls = []
            for name, numbers in some:
                shard = self._keys.shard_of(name)
                keys = (*self._keys.of_line(name, shard)[:6], *self._keys.of_index(shard))
                calls.append(Call(self._scripts["inspect"], keys, (name, *sorted(numbers))))
            for (name, _), reply in zip(some, await self._servers.run_all(calls), strict=True):
                self._seen.add(name)
                if isinstance(reply, ConversationError):
                    found.append(AuditFinding(name, "data", str(reply)))
                else:
                    found += _judged(name, reply)
        return found


# --- one conversation -----------------------------------------------------------------------------------------------------


class _Kept(NamedTuple):
    """One conversation, as read by `inspect`."""

    name: str
    now_ms: int
    last: bytes
    length: bytes
    """Its score in the index: minus the number of its tickets, "" if it is missing."""
    since: bytes
    """Its score among the lines with waiting tickets."""
    lives_ms: dict[str, int]
    scores: dict[bytes, bytes]
    """The line: number and score."""
    tickets: dict[bytes, list[Any]]
    """The values stored by number that are tickets."""
    deadlines: dict[bytes, bytes]
    requests: dict[bytes, bytes]


def _judged(name: str, reply: list[Any]) -> list[AuditFinding]:
    try:
        kept = _read(name, reply)
        lock = _line(kept)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        return [AuditFinding(name, "data", f"its tickets cannot be read: {type(error).__name__}: {error}")]
    judges = (_tickets, _deadlines, _requests, _index, _lives)
    return [
        *judge_line(lock, kept.now_ms),
        *judge_lateness(lock, kept.now_ms),
        *(finding for judge in judges for finding in judge(kept)),
    ]


def _read(name: str, reply: list[Any]) -> _Kept:
    now_ms, last, length, since, lives, scores, kept, deadlines, requests = reply
    tickets = {number: from_json(text) for number, text in _pairs(kept) if not text.startswith(b"=")}
    return _Kept(
        name,
        now_ms,
        last,
        length,
        since,
        dict(zip(_KINDS, lives, strict=True)),
        dict(_pairs(scores)),
        tickets,
        dict(_pairs(deadlines)),
        dict(_pairs(requests)),
    )


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _line(kept: _Kept) -> TicketLock:
    """Return the line, without tickets whose data is missing. Its last number is a separate key."""
    tickets = [ticket_of(int(number), kept.tickets[number]) for number in kept.scores if number in kept.tickets]
    return TicketLock(kept.name, tickets)


def _tickets(kept: _Kept) -> Iterator[AuditFinding]:
    last = int(kept.last) if kept.last.isdigit() else None
    if last is None and (kept.last or kept.scores):
        detail = (
            f"its key contains {kept.last.decode(errors='backslashreplace')!r}" if kept.last else "its key is missing"
        )
        yield AuditFinding(kept.name, "numbers", f"the last number issued is unknown: {detail}")
    for number in sorted(kept.scores.keys() | kept.tickets.keys(), key=int):
        if number not in kept.tickets:
            yield AuditFinding(kept.name, "data", f"ticket {int(number)} is in the line but has no data")
        elif number not in kept.scores:
            yield AuditFinding(kept.name, "data", f"ticket {int(number)} has data but is not in the line")
        elif int(kept.scores[number]) != int(number):
            yield AuditFinding(
                kept.name, "numbers", f"ticket {int(number)} has the position of ticket {int(kept.scores[number])}"
            )
        if last is not None and int(number) > last:
            yield AuditFinding(kept.name, "numbers", f"ticket {int(number)} is above the last number issued, {last}")


def _deadlines(kept: _Kept) -> Iterator[AuditFinding]:
    for number, score in kept.deadlines.items():
        ticket = kept.tickets.get(number)
        if ticket is None and score and number not in kept.scores:
            yield AuditFinding(kept.name, "deadline", f"ticket {int(number)} has ended but still has a deadline")
        elif ticket is not None and number in kept.scores:
            wanted = ticket_of(int(number), ticket).expires_ms
            if not score:
                yield AuditFinding(
                    kept.name, "deadline", f"ticket {int(number)} has no deadline and would never expire"
                )
            elif int(score) != wanted:
                yield AuditFinding(
                    kept.name, "deadline", f"ticket {int(number)} has the deadline {int(score)}, not {wanted}"
                )


def _requests(kept: _Kept) -> Iterator[AuditFinding]:
    for number, leads_to in kept.requests.items():
        if number in kept.scores and leads_to != number:
            detail = f"request {kept.tickets[number][0]!r} of ticket {int(number)} does not refer to it"
            yield AuditFinding(kept.name, "request", detail)


def _index(kept: _Kept) -> Iterator[AuditFinding]:
    count, length = len(kept.scores), -int(kept.length or 0)
    if length != count:
        detail = f"is indexed with {length} tickets" if kept.length else "is missing from the index"
        yield AuditFinding(kept.name, "index", f"the line of {count} tickets {detail}")
    if bool(kept.since) != (count > 1):
        detail = "is" if kept.since else "is not"
        yield AuditFinding(
            kept.name, "index", f"the line of {count} tickets {detail} indexed as having waiting tickets"
        )
    elif kept.since:
        second = kept.tickets.get(list(kept.scores)[1])
        if second is not None and int(kept.since) > second[QUEUED_AT]:
            yield AuditFinding(kept.name, "index", "the first waiting ticket has waited longer than the index shows")


def _lives(kept: _Kept) -> Iterator[AuditFinding]:
    for kind, life_ms in kept.lives_ms.items():
        if life_ms == _NO_KEY:
            continue
        if kind == "events":
            if life_ms == _FOR_EVER:
                yield AuditFinding(kept.name, "life", "its event history would never expire")
        elif kept.scores and life_ms != _FOR_EVER:
            yield AuditFinding(
                kept.name, "life", f"the key of its {kind} expires in {life_ms / 1000:.0f} s, but the line is not empty"
            )
        elif not kept.scores and life_ms == _FOR_EVER:
            yield AuditFinding(kept.name, "life", f"the key of its {kind} would never expire, but the line is empty")
