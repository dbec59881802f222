"""What operators ask of `concurrent_redis`: its shards' index of lines, which the scripts keep true, tells them at once."""

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic_core import from_json

from lockstore.core.events import Event, from_history
from lockstore.core.line import history_at
from lockstore.core.rules import Limits
from lockstore.core.statistics import DEEPEST, Backlog, LineStatistics, LineSummary
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.redis.concurrent.replies import line_of, record_age_ms, tickets_of, waiting_since_of
from lockstore.stores.redis.connection import Call, RedisClient
from lockstore.stores.redis.connection.scripts import Script
from lockstore.stores.redis.keys import SHARDS, ConcurrentKeys

__all__ = ["INDEX_VERBS", "IndexedQueries"]

INDEX_VERBS = ("look", "survey", "find", "recall", "examine")
"""The scripts that it runs."""

_SHARE_LEAST = 16  # of the longest lines, that each shard gives
_WAITING_FIRST = 8  # lines where somebody waits, that each shard gives
_WAITS_AT_ONCE = 64  # lines whose first waiter is looked at together
_WAITS_ROUNDS = 4
_FIND_SHARDS, _FIND_PLACES = 8, 1000  # looked through in one round trip: Redis serves nobody else meanwhile

_Ranked = tuple[int, str]
"""Minus the number of tickets, and the conversation: in this order the longest line is first."""


class Limited(Protocol):
    """What has limits, which may change."""

    limits: Limits


class _Counted(NamedTuple):
    """What one shard says of its lines."""

    now_ms: int
    lines: int
    tickets: int
    longest: list[_Ranked]
    waiting: list[tuple[int, str]]
    """Since when at the earliest somebody waits who still does, and where."""


class _Looked(NamedTuple):
    """One line's first two places."""

    summary: LineSummary
    waiting_since_ms: int | None


class IndexedQueries:
    """Reads lines by the index of their shard: few round trips, however many lines there are."""

    def __init__(self, store: Limited, keys: ConcurrentKeys, servers: RedisClient, scripts: dict[str, Script]) -> None:
        self._store = store
        self._keys = keys
        self._servers = servers
        self._scripts = scripts

    # --- all lines ----------------------------------------------------------------------------------------------------

    async def survey(self, most: int, start: int) -> LineStatistics:
        """Count the lines, find the longest and the longest wait: two round trips as a rule."""
        counted, longest = await self._longest(min(start + most, DEEPEST))
        page = [conversation_id for _, conversation_id in longest[start:]]
        waits = sorted(place for shard in counted for place in shard.waiting)
        first, waits = waits[:_WAITS_AT_ONCE], waits[_WAITS_AT_ONCE:]
        looked = await self._look_at({*page, *(conversation_id for _, conversation_id in first)})
        oldest = await self._oldest(first, waits, looked)
        at_ms = max((shard.now_ms for shard in counted), default=0)
        lines, tickets = sum(shard.lines for shard in counted), sum(shard.tickets for shard in counted)
        return LineStatistics(
            at_ms=at_ms,
            lines=lines,
            tickets=tickets,
            waiting=max(0, tickets - lines),
            oldest_wait_ms=None if oldest is None else max(0, at_ms - oldest[0]),
            oldest_wait_in=None if oldest is None else oldest[1],
            longest=tuple(looked[name].summary for name in page if name in looked),
            complete=len(counted) == SHARDS,
        )

    async def _longest(self, depth: int) -> tuple[list[_Counted], list[_Ranked]]:
        """Ask all shards, and give the `depth` longest lines of all.

        Lines are spread evenly, so each shard gives twice its share; where that was not enough, all give more.
        """
        share = depth // SHARDS * 2 + _SHARE_LEAST if depth else 0
        while True:
            counted = await self._count(share)
            merged = list(heapq.merge(*(shard.longest for shard in counted)))[:depth]
            # Behind the last one that a shard has given there may be others of its own.
            cut = [shard.longest[-1] for shard in counted if len(shard.longest) < shard.lines and shard.longest]
            if not cut or (len(merged) == depth and merged[-1] <= min(cut)):
                return counted, merged
            share *= 4

    async def _count(self, share: int) -> list[_Counted]:
        script, args = self._scripts["survey"], (share, _WAITING_FIRST)
        calls = [Call(script, self._keys.of_index(shard), args) for shard in range(SHARDS)]
        replies = await self._servers.run_all(calls)
        return [_counted(reply) for reply in replies if not isinstance(reply, ConversationError)]

    async def _oldest(
        self, first: list[tuple[int, str]], waits: list[tuple[int, str]], looked: dict[str, _Looked]
    ) -> tuple[int, str] | None:
        """Find since when the one has waited that waits longest, and in which conversation.

        What the index says is a bound: nobody in that line came earlier. So lines are looked at in the order of their
        bounds, until the bound of the next is later than a time that was seen. Bounds that were too early are raised: where
        very many are, it takes some surveys until the longest wait of all is found.
        """
        oldest: tuple[int, str] | None = None
        raised: list[tuple[Any, ...]] = []
        for _ in range(_WAITS_ROUNDS):
            for bound_ms, name in first:
                since_ms = looked[name].waiting_since_ms if name in looked else None
                if since_ms is None:
                    continue
                oldest = (since_ms, name) if oldest is None else min(oldest, (since_ms, name))
                if since_ms > bound_ms:
                    waiting = self._keys.of_index(self._keys.shard_of(name))[2]
                    raised.append(("ZADD", waiting, "XX", "GT", since_ms, name))
            if not waits or (oldest is not None and waits[0][0] >= oldest[0]):
                break
            first, waits = waits[:_WAITS_AT_ONCE], waits[_WAITS_AT_ONCE:]
            looked = await self._look_at({name for _, name in first})
        if raised:
            await self._servers.ask_all(raised)
        return oldest

    async def _look_at(self, conversation_ids: Iterable[str]) -> dict[str, _Looked]:
        """Read the first two places of these lines; those that are empty by now are left out."""
        names = list(conversation_ids)
        replies = await self._servers.run_all([self._look(name, 1) for name in names])
        found = {}
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, ConversationError):
                continue  # told to whoever asks for this one
            _, _, count, *flat = reply
            if count:
                since_ms = waiting_since_of(flat)
                head = tickets_of(flat[:2])
                summary = LineSummary(name, count, head[0] if head else None, since_ms)
                found[name] = _Looked(summary, since_ms)
        return found

    def _look(self, conversation_id: str, last_place: int) -> Call:
        keys = self._keys.of_line(conversation_id, self._keys.shard_of(conversation_id))[:3]
        return Call(self._scripts["look"], keys, (last_place,))

    async def find(self, text: str, most: int) -> list[str]:
        """Look through the index of all shards, a part at a time."""
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
        """Read one line, with the server's clock."""
        now_ms, last, _, *flat = await self._servers.run(self._look(conversation_id, -1))
        return (line_of(conversation_id, last, flat) if flat else None), now_ms

    async def history(self, conversation_id: str) -> list[Event]:
        """Read the list of a conversation's events."""
        events = self._keys.of_line(conversation_id, self._keys.shard_of(conversation_id))[5:6]
        limits = self._store.limits
        now_ms, *kept = await self._servers.run(Call(self._scripts["recall"], events, (limits.history,)))
        young = history_at(now_ms, tuple(from_json(entry) for entry in kept), limits)
        return [from_history(conversation_id, entry) for entry in young]

    # --- what is to be done -------------------------------------------------------------------------------------------

    async def examine(self) -> Backlog:
        """Ask all shards what is left to announce and to end, in one round trip."""
        script = self._scripts["examine"]
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


def _by_name(text: str) -> Any:
    return lambda name: (name != text, name)


def _ranks(flat: Sequence[bytes]) -> list[tuple[int, str]]:
    """Read members with their scores, as (score, member)."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [(int(float(score)), member.decode(errors="backslashreplace")) for member, score in pairs]


def _counted(reply: list[Any]) -> _Counted:
    now_ms, lines, tickets, longest, waiting = reply
    return _Counted(now_ms, lines, tickets, _ranks(longest), _ranks(waiting))
