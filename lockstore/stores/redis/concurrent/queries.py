"""Operator queries on `concurrent_redis`, answered from the shards' index of lines, which the scripts maintain."""

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic_core import from_json

from lockstore.core.events import UNREADABLE, Event, from_history
from lockstore.core.line import history_at
from lockstore.core.rules import Limits
from lockstore.core.statistics import DEEPEST, UNREADABLE_MOST, Backlog, LineStatistics, LineSummary
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.redis.concurrent.replies import line_of, record_age_ms, tickets_of, waiting_since_of
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.scripts import Script
from lockstore.stores.redis.keys import SHARDS, ConcurrentKeys

__all__ = ["INDEX_VERBS", "IndexedQueries"]

INDEX_VERBS = ("read_line", "stats", "find", "read_events", "backlog")
"""The scripts it runs."""

_SHARE_LEAST = 16  # of the longest lines, per shard
_WAITING_FIRST = 8  # lines with waiting tickets, per shard
_WAITS_AT_ONCE = 64  # lines whose first waiting ticket is read in one round trip
_WAITS_ROUNDS = 4
_FIND_SHARDS, _FIND_PLACES = 8, 1000  # searched in one round trip, during which Redis serves nobody else

_Ranked = tuple[int, str]
"""Minus the number of tickets, and the conversation: sorted, the longest line comes first."""


class Limited(Protocol):
    """Provides limits, which may change."""

    limits: Limits


class _Counted(NamedTuple):
    """What one shard reports about its lines."""

    now_ms: int
    lines: int
    tickets: int
    longest: list[_Ranked]
    waiting: list[tuple[int, str]]
    """A lower bound for the time since which a ticket has been waiting, and its conversation."""


class _LineHead(NamedTuple):
    """The first two tickets of a line."""

    summary: LineSummary
    waiting_since_ms: int | None


class IndexedQueries:
    """Answers queries from the index of the shards, in few round trips however many lines there are."""

    def __init__(self, store: Limited, keys: ConcurrentKeys, servers: RedisClient, scripts: dict[str, Script]) -> None:
        self._store = store
        self._keys = keys
        self._servers = servers
        self._scripts = scripts

    # --- all lines ----------------------------------------------------------------------------------------------------

    async def statistics(self, most: int, start: int) -> LineStatistics:
        """Count the lines, and find the longest lines and the longest wait, usually in two round trips."""
        counted, longest = await self._longest(min(start + most, DEEPEST))
        page = [conversation_id for _, conversation_id in longest[start:]]
        waits = sorted(place for shard in counted for place in shard.waiting)
        first, waits = waits[:_WAITS_AT_ONCE], waits[_WAITS_AT_ONCE:]
        unreadable: dict[str, str] = {}
        heads = await self._read_heads({*page, *(conversation_id for _, conversation_id in first)}, unreadable)
        oldest = await self._oldest(first, waits, heads)
        at_ms = max((shard.now_ms for shard in counted), default=0)
        lines, tickets = sum(shard.lines for shard in counted), sum(shard.tickets for shard in counted)
        return LineStatistics(
            at_ms=at_ms,
            lines=lines,
            tickets=tickets,
            waiting=max(0, tickets - lines),
            oldest_wait_ms=None if oldest is None else max(0, at_ms - oldest[0]),
            oldest_wait_in=None if oldest is None else oldest[1],
            longest=tuple(heads[name].summary for name in page if name in heads),
            complete=len(counted) == SHARDS,
            unreadable=tuple(sorted(unreadable.items())[:UNREADABLE_MOST]),
        )

    async def _longest(self, depth: int) -> tuple[list[_Counted], list[_Ranked]]:
        """Query all shards, and return the `depth` longest lines overall.

        Lines are distributed evenly, so each shard returns twice its share; if that was not enough, a second query
        asks for more.
        """
        share = depth // SHARDS * 2 + _SHARE_LEAST if depth else 0
        while True:
            counted = await self._count(share)
            merged = list(heapq.merge(*(shard.longest for shard in counted)))[:depth]
            # Lines that a shard has not returned may come before this one.
            cut = [shard.longest[-1] for shard in counted if len(shard.longest) < shard.lines and shard.longest]
            if not cut or (len(merged) == depth and merged[-1] <= min(cut)):
                return counted, merged
            share *= 4

    async def _count(self, share: int) -> list[_Counted]:
        script, args = self._scripts["stats"], (share, _WAITING_FIRST)
        calls = [Call(script, self._keys.of_index(shard), args) for shard in range(SHARDS)]
        replies = await self._servers.run_all(calls)
        return [_counted(reply) for reply in replies if not isinstance(reply, ConversationError)]

    async def _oldest(
        self, first: list[tuple[int, str]], waits: list[tuple[int, str]], heads: dict[str, _LineHead]
    ) -> tuple[int, str] | None:
        """Return since when the longest-waiting ticket has waited, and its conversation.

        The index contains lower bounds, so lines are read in the order of their bounds until the next bound is later
        than the earliest time found. Bounds that were too low are raised; if there are very many, it takes several
        calls to find the longest wait.
        """
        oldest: tuple[int, str] | None = None
        raised: list[tuple[Any, ...]] = []
        for _ in range(_WAITS_ROUNDS):
            for bound_ms, name in first:
                since_ms = heads[name].waiting_since_ms if name in heads else None
                if since_ms is None:
                    continue
                oldest = (since_ms, name) if oldest is None else min(oldest, (since_ms, name))
                if since_ms > bound_ms:
                    waiting = self._keys.of_index(self._keys.shard_of(name))[2]
                    raised.append(("ZADD", waiting, "XX", "GT", since_ms, name))
            if not waits or (oldest is not None and waits[0][0] >= oldest[0]):
                break
            first, waits = waits[:_WAITS_AT_ONCE], waits[_WAITS_AT_ONCE:]
            heads = await self._read_heads({name for _, name in first}, {})
        if raised:
            await self._servers.ask_all(raised)
        return oldest

    async def _read_heads(self, conversation_ids: Iterable[str], unreadable: dict[str, str]) -> dict[str, _LineHead]:
        """Read the first two tickets of these lines. Lines that are empty by now are omitted, damaged ones go to `unreadable`."""
        names = list(conversation_ids)
        replies = await self._servers.run_all([self._read_line(name, 1) for name in names])
        found = {}
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, ConversationError):
                unreadable[name] = str(reply)
                continue
            _, _, count, *flat = reply
            if not count:
                continue
            try:
                since_ms = waiting_since_of(flat)
                head = tickets_of(flat[:2])
            except UNREADABLE as error:
                unreadable[name] = str(_damaged(error))
                continue
            found[name] = _LineHead(LineSummary(name, count, head[0] if head else None, since_ms), since_ms)
        return found

    def _read_line(self, conversation_id: str, last_place: int) -> Call:
        keys = self._keys.of_line(conversation_id, self._keys.shard_of(conversation_id))[:3]
        return Call(self._scripts["read_line"], keys, (last_place,))

    async def find(self, text: str, most: int) -> list[str]:
        """Search the index of all shards, one part at a time."""
        found: list[str] = []
        pending = [(shard, 0) for shard in range(SHARDS)]
        while pending:
            some, pending = pending[:_FIND_SHARDS], pending[_FIND_SHARDS:]
            script = self._scripts["find"]
            calls = [
                Call(script, self._keys.of_index(shard)[1:2], (text, place, _FIND_PLACES)) for shard, place in some
            ]
            for (shard, place), reply in zip(some, await self._servers.run_all(calls), strict=True):
                if isinstance(reply, ConversationError):
                    continue
                lines, *names = reply
                found = heapq.nsmallest(
                    most, {*found, *(name.decode(errors="backslashreplace") for name in names)}, key=_by_name(text)
                )
                if place + _FIND_PLACES < lines:
                    pending.append((shard, place + _FIND_PLACES))
        return found

    # --- one line -----------------------------------------------------------------------------------------------------

    async def view(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Return one line, with the server's clock."""
        now_ms, last, _, *flat = await self._servers.run(self._read_line(conversation_id, -1))
        try:
            return (line_of(conversation_id, last, flat) if flat else None), now_ms
        except UNREADABLE as error:
            raise _damaged(error) from error

    async def history(self, conversation_id: str) -> list[Event]:
        """Return a conversation's retained events."""
        events = self._keys.of_line(conversation_id, self._keys.shard_of(conversation_id))[5:6]
        limits = self._store.limits
        now_ms, *kept = await self._servers.run(Call(self._scripts["read_events"], events, (limits.history,)))
        young = history_at(now_ms, tuple(from_json(entry) for entry in kept), limits)
        return [from_history(conversation_id, entry) for entry in young]

    # --- what is to be done -------------------------------------------------------------------------------------------

    async def backlog(self) -> Backlog:
        """Query all shards for unpublished events and overdue deadlines, in one round trip."""
        script = self._scripts["backlog"]
        replies = await self._servers.run_all([Call(script, self._keys.of_shard(shard), ()) for shard in range(SHARDS)])
        outbox = overdue = 0
        ages_ms: list[int] = []
        lates_ms: list[int] = []
        for reply in replies:
            if isinstance(reply, ConversationError):
                continue
            now_ms, kept, oldest, came, first_ms = reply
            outbox, overdue = outbox + kept, overdue + came
            age_ms = record_age_ms(now_ms, oldest) if oldest else None
            ages_ms += [] if age_ms is None else [age_ms]
            lates_ms += [now_ms - first_ms] if first_ms >= 0 else []
        return Backlog(outbox, max(ages_ms, default=None), overdue, max(lates_ms, default=None))


def _damaged(error: Exception) -> ConversationError:
    return ConversationError(f"its tickets cannot be read: {type(error).__name__}: {error}")


def _by_name(text: str) -> Any:
    return lambda name: (name != text, name)


def _ranks(flat: Sequence[bytes]) -> list[tuple[int, str]]:
    """Return members with their scores, as (score, member)."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [(int(float(score)), member.decode(errors="backslashreplace")) for member, score in pairs]


def _counted(reply: list[Any]) -> _Counted:
    now_ms, lines, tickets, longest, waiting = reply
    return _Counted(now_ms, lines, tickets, _ranks(longest), _ranks(waiting))
