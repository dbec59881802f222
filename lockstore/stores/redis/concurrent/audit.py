"""The audit of `concurrent_redis`: each conversation read at one moment, and held against its shard's index and deadlines."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pydantic_core import from_json

from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.audit import LATE_MS, Audited, AuditFinding, Progress, judge_lateness, judge_line
from lockstore.stores.redis.concurrent.replies import QUEUED_AT, record_age_ms, ticket_of
from lockstore.stores.redis.connection import Call, RedisClient
from lockstore.stores.redis.connection.scripts import Script
from lockstore.stores.redis.key_ownership import ConcurrentNames
from lockstore.stores.redis.keys import SHARDS, ConcurrentKeys

__all__ = ["AUDIT_VERBS", "ConcurrentAudit"]

AUDIT_VERBS = ("inspect",)
"""The scripts that it runs, beside those of the index."""

_TOGETHER = 100  # conversations that are inspected in one round trip
_SHARDS_TOGETHER = 8
_MEMBERS = 1000  # of a sorted set that are read at once
_KINDS = ("line", "tickets", "requests", "ended", "events")  # of keys that tell of a conversation
_FOR_EVER, _NO_KEY = -1, -2  # of PTTL

_Suspects = dict[str, set[str]]
"""Conversations to inspect, each with numbers of which a deadline was seen."""


class ConcurrentAudit:
    """Goes through the lines that the shards' index names, then through all keys, for those of which no index knows."""

    def __init__(
        self, keys: ConcurrentKeys, names: ConcurrentNames, servers: RedisClient, scripts: dict[str, Script]
    ) -> None:
        self._keys = keys
        self._names = names
        self._servers = servers
        self._scripts = scripts
        self._seen: set[str] = set()

    async def run(self) -> AsyncIterator[Audited]:
        """Give what is found, and how far it is."""
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
        """Look at the conversations that the sorted sets of some shards name, and at the shards' outboxes."""
        found = await self._of_outboxes(shards)
        suspects: _Suspects = defaultdict(set)
        pending = [(shard, key, 0) for shard in shards for key in self._keys.of_index(shard)]
        while pending:
            asked = [("ZRANGE", key, place, place + _MEMBERS - 1) for _, key, place in pending]
            read, pending = list(zip(pending, await self._servers.ask_all(asked), strict=True)), []
            for (shard, key, place), members in read:
                if isinstance(members, ConversationError):
                    found.append(AuditFinding(None, "data", f"it is no sorted set: {key}"))
                    continue
                found += self._take(shard, key, members, suspects)
                if len(members) == _MEMBERS:
                    pending.append((shard, key, place + _MEMBERS))
        return found + await self._inspect(suspects)

    def _take(self, shard: int, key: str, members: Sequence[bytes], suspects: _Suspects) -> list[AuditFinding]:
        """Note the conversations that members of a sorted set name; give those that have no place there."""
        found: list[AuditFinding] = []
        deadlines, _, _ = self._keys.of_index(shard)
        for raw in members:
            member = raw.decode(errors="backslashreplace")
            number, _, name = member.partition(":") if key == deadlines else ("", "", member)
            if self._keys.shard_of(name) != shard or (key == deadlines and not number.isdigit()):
                found.append(AuditFinding(None, "name", f"{member!r} does not belong into {key}"))
            else:
                suspects[name] |= {number} - {""}
        return found

    async def _of_outboxes(self, shards: Sequence[int]) -> list[AuditFinding]:
        """Look whether the first event of an outbox has been there for long."""
        found: list[AuditFinding] = []
        calls = [Call(self._scripts["examine"], self._keys.of_shard(shard), ()) for shard in shards]
        for call, reply in zip(calls, await self._servers.run_all(calls), strict=True):
            outbox = call.keys[1]
            if isinstance(reply, ConversationError):
                found.append(AuditFinding(None, "data", f"{outbox}: {reply}"))
                continue
            now_ms, count, oldest, _, _ = reply
            age_ms = record_age_ms(now_ms, oldest) if oldest else 0
            if age_ms is None:
                found.append(
                    AuditFinding(None, "data", f"{outbox}: its first entry is no event's; a daemon sets it aside")
                )
            elif age_ms > LATE_MS:
                detail = f"{count} events in {outbox} are not announced, the first for {age_ms / 1000:.0f} s"
                found.append(AuditFinding(None, "outbox", detail))
        return found

    async def _of_keys(self, page: Sequence[bytes]) -> list[AuditFinding]:
        """Look at keys of conversations that no index has named, and at those that are none of the store's."""
        found: list[AuditFinding] = []
        suspects: _Suspects = {}
        for raw in page:
            key = raw.decode(errors="backslashreplace")
            name = self._names.name_of(key) if key.startswith(self._names.starts) else None
            if name is None:
                found.append(AuditFinding(None, "name", f"the store gives no such name: {key}"))
            elif name.kind in _KINDS and name.conversation_id is not None:
                suspects[name.conversation_id] = set()
        return found + await self._inspect(suspects)

    async def _inspect(self, suspects: _Suspects) -> list[AuditFinding]:
        """Read what is kept of conversations that were not looked at yet, and judge it."""
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
    """What `inspect` has read of one conversation."""

    name: str
    now_ms: int
    last: bytes
    length: bytes
    """Its place in the index: minus the number of its tickets, "" where it is not there."""
    since: bytes
    """Its place among the lines where somebody waits."""
    lives_ms: dict[str, int]
    scores: dict[bytes, bytes]
    """The line: number and score."""
    tickets: dict[bytes, list[Any]]
    """What is a ticket of all that is kept by number."""
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
    """Give the line as far as its tickets are there. Its own last number stands in Redis, not in its tickets."""
    tickets = [ticket_of(int(number), kept.tickets[number]) for number in kept.scores if number in kept.tickets]
    return TicketLock(kept.name, tickets)


def _tickets(kept: _Kept) -> Iterator[AuditFinding]:
    last = int(kept.last) if kept.last.isdigit() else None
    if last is None and (kept.last or kept.scores):
        told = f"it is {kept.last.decode(errors='backslashreplace')!r}" if kept.last else "there is none"
        yield AuditFinding(kept.name, "numbers", f"the last number issued is not known: {told}")
    for number in sorted(kept.scores.keys() | kept.tickets.keys(), key=int):
        if number not in kept.tickets:
            yield AuditFinding(kept.name, "data", f"of ticket {int(number)}, which is in line, nothing is kept")
        elif number not in kept.scores:
            yield AuditFinding(kept.name, "data", f"ticket {int(number)} is kept and not in line")
        elif int(kept.scores[number]) != int(number):
            yield AuditFinding(
                kept.name, "numbers", f"ticket {int(number)} stands in the place of {int(kept.scores[number])}"
            )
        if last is not None and int(number) > last:
            yield AuditFinding(kept.name, "numbers", f"ticket {int(number)} is above the last number issued, {last}")


def _deadlines(kept: _Kept) -> Iterator[AuditFinding]:
    for number, score in kept.deadlines.items():
        ticket = kept.tickets.get(number)
        if ticket is None and score and number not in kept.scores:
            yield AuditFinding(kept.name, "deadline", f"ticket {int(number)} is over and has a deadline")
        elif ticket is not None and number in kept.scores:
            wanted = ticket_of(int(number), ticket).expires_ms
            if not score:
                yield AuditFinding(
                    kept.name, "deadline", f"ticket {int(number)} has no deadline, and would stay for ever"
                )
            elif int(score) != wanted:
                yield AuditFinding(
                    kept.name, "deadline", f"ticket {int(number)} has the deadline {int(score)}, not {wanted}"
                )


def _requests(kept: _Kept) -> Iterator[AuditFinding]:
    for number, leads_to in kept.requests.items():
        if number in kept.scores and leads_to != number:
            detail = f"request {kept.tickets[number][0]!r} of ticket {int(number)} does not lead to it"
            yield AuditFinding(kept.name, "request", detail)


def _index(kept: _Kept) -> Iterator[AuditFinding]:
    count, length = len(kept.scores), -int(kept.length or 0)
    if length != count:
        told = f"is in the index with {length} tickets" if kept.length else "is not in the index"
        yield AuditFinding(kept.name, "index", f"a line of {count} {told}")
    if bool(kept.since) != (count > 1):
        told = "is" if kept.since else "is not"
        yield AuditFinding(kept.name, "index", f"a line of {count} {told} among those where somebody waits")
    elif kept.since:
        second = kept.tickets.get(list(kept.scores)[1])
        if second is not None and int(kept.since) > second[QUEUED_AT]:
            yield AuditFinding(kept.name, "index", "the first who waits has waited longer than the index says")


def _lives(kept: _Kept) -> Iterator[AuditFinding]:
    for kind, life_ms in kept.lives_ms.items():
        if life_ms == _NO_KEY:
            continue
        if kind == "events":
            if life_ms == _FOR_EVER:
                yield AuditFinding(kept.name, "life", "its history would stay for ever")
        elif kept.scores and life_ms != _FOR_EVER:
            yield AuditFinding(
                kept.name, "life", f"the key of its {kind} goes in {life_ms / 1000:.0f} s, and somebody stands in line"
            )
        elif not kept.scores and life_ms == _FOR_EVER:
            yield AuditFinding(
                kept.name, "life", f"the key of its {kind} would stay for ever, and nobody stands in line"
            )
