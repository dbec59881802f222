"""`RedisLockStore`: one serialized line per conversation, in Rasa's keys and JSON, changed by compare-and-set."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from lockstore.core.statistics import Pending
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.audit import Audited
from lockstore.stores.base import LockStore
from lockstore.stores.line_engine import Step
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.connect import ChangingCredentials
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.connection.scripts import giving_back, load
from lockstore.stores.redis.key_ownership import RedisNames
from lockstore.stores.redis.keys import RedisKeys
from lockstore.stores.redis.pubsub import OUTBOX_HINT, HintSubscription
from lockstore.stores.redis.rasa.audit import INSPECT_LOCK, RedisAudit
from lockstore.stores.redis.rasa.schedule import AGENDA_SCRIPTS, Due, Schedule
from lockstore.stores.redis.rasa.serialization import parsed, read_of, written
from lockstore.stores.redis.replication_ids import HISTORY_SCRIPT, ReplicationIds
from lockstore.stores.results import LEFT_BEHIND_MS, Patrol, Shard

__all__ = ["RedisLockStore"]

T = TypeVar("T")

_BACKOFF_S = 0.002  # mean delay after losing a compare-and-set; grows with each attempt
_READ, _TAKE, _SWAP = load("read_lock"), load("read_for_update"), load("compare_and_set")
_SWAP_BACK = giving_back(_SWAP)
_SCRIPTS = (_READ, _TAKE, _SWAP, _SWAP_BACK, *AGENDA_SCRIPTS, HISTORY_SCRIPT, INSPECT_LOCK)
_NOTED_MOST = 1000  # Rasa's lines scheduled in one batch
_AGAIN_MS = 500  # when to check a line again that may change without this process noticing


class RedisLockStore(LockStore):
    """Keeps lines in the format of Rasa's `redis` lock store, so that both can use the same data.

    Two keys of our own accompany Rasa's key, in the same hash slot: the last number issued, and a memo of retained
    requests and unpublished events. The agenda, written in the same step, lists for every daemon which lines to
    check, and when.
    """

    parallel = True
    lists_lines = True
    knows_all_lines = True

    def __init__(self, options: RedisOptions, credentials: ChangingCredentials | None = None) -> None:
        self._keys = RedisKeys(options.key_prefix, options.deployment_mode == "cluster")
        self._names = RedisNames(options)
        self._servers = RedisClient(options, _SCRIPTS, self._keys.mark_of, credentials)
        self._schedule = Schedule(self._keys, self._servers)
        self.patience_s = 2 * options.socket_timeout  # an unresponsive server raises an error well before
        self._histories = ReplicationIds(self._servers)

    async def open(self) -> None:
        """Connect, and add lines written by Rasa to the agenda."""
        await self._servers.open()
        await self._schedule.discover()
        await self._histories.learn({slot: self._keys.history(slot) for slot in self._schedule.known})
        found: list[str] = []
        async for key in self._servers.scan(f"{self._keys.lock_start}*"):
            found.append(key.removeprefix(self._keys.lock_start))
            if len(found) == _NOTED_MOST:
                await self._schedule.add(found)
                found.clear()
        await self._schedule.add(found)

    async def warnings(self) -> list[str]:
        """Return problems with the server's settings."""
        return await self._servers.warnings()

    async def close(self) -> None:
        """Close all connections."""
        await self._subscription.close()
        await self._servers.close()

    async def get_lock(self, conversation_id: str) -> TicketLock | None:
        """Return a line, or None if it is empty."""
        lock, _ = await self.read(conversation_id)
        return lock if lock is not None and lock.tickets else None

    async def save_lock(self, lock: TicketLock) -> None:
        """Overwrite a line, as Rasa does. The last number never decreases."""
        await self.transform(lock.conversation_id, lambda before, _: (lock.in_place_of(before), None))

    async def delete_lock(self, conversation_id: str) -> None:
        """Delete a line, but keep its last number."""
        await self.save_lock(TicketLock(conversation_id))

    async def read(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Return one line, and the server's clock in ms."""
        [found] = await self.read_all([conversation_id])
        if isinstance(found, ConversationError):
            raise found
        return found

    async def read_all(
        self, conversation_ids: Sequence[str]
    ) -> list[tuple[TicketLock | None, int] | ConversationError]:
        """Return lines, each with the server's clock in ms, in one round trip per server."""
        calls = [Call(_READ, self._keys.of(conversation_id), ()) for conversation_id in conversation_ids]
        replies = await self._servers.run_all(calls)
        return [read_of(*found) for found in zip(conversation_ids, replies, strict=True)]

    def roster(self) -> AsyncIterator[Sequence[str]]:
        """Iterate over the lines in the agenda: all except those that only Rasa processes have ever touched."""
        return self._schedule.roster()

    async def pending(self) -> Iterable[Pending]:
        """Return the pending work of the lines that are due or have unpublished events."""
        reads = await self.read_all(await self._schedule.soon(LEFT_BEHIND_MS))
        locks = [read[0] for read in reads if not isinstance(read, ConversationError)]
        return [Pending.of(lock) for lock in locks if lock is not None]

    def audit(self) -> AsyncIterator[Audited]:
        """Check all lines for inconsistencies, and scan all keys for lines missing from the agenda."""
        return RedisAudit(self._keys, self._names, self._servers, self._schedule).run()

    async def clock_ms(self) -> int:
        """Return the server's clock."""
        return await self._schedule.clock_ms()

    async def listen(self, conversation_id: str) -> None:  # noqa: ARG002 - one channel carries the hints of all conversations
        """Subscribe to the hints of other processes."""
        await self._subscription.want()

    async def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> T:
        """Change one line by compare-and-set: read, apply the step, write if unchanged, otherwise retry."""
        mutex = self._mutexes.setdefault(conversation_id, asyncio.Lock())
        async with mutex:
            await self._schedule.mark(self._keys.slot_of(conversation_id))
            for tries in range(1_000_000):
                values, run, before, now_ms = await self._take(conversation_id)
                after, result = step(before, now_ms)
                if after == before:
                    # The result may rest on an earlier write that has not reached the replicas yet.
                    await self._servers.replicated([self._keys.of(conversation_id).lock])
                    return result
                if await self._swap(values, run, before, after, direct=direct):
                    return result
                await asyncio.sleep(random.uniform(0, 2 * _BACKOFF_S) * min(tries + 1, 10))  # noqa: S311 - not security-relevant
        message = "the line was changed concurrently at every attempt"
        raise ConversationError(message)

    async def _take(self, conversation_id: str) -> tuple[list[bytes], bytes, TicketLock, int]:
        """Read one line for a change: its values, the replication id, the parsed line, and the server's clock in ms."""
        slot = self._keys.slot_of(conversation_id)
        keys = (*self._keys.of(conversation_id), self._keys.history(slot))
        now_ms, *values, least, run = await self._servers.run(Call(_TAKE, keys, (self._histories.seen(slot),)))
        self._histories.note(slot, run)
        lock = parsed(conversation_id, values)
        if least and lock.highest < least - 1:  # Redis may have lost higher ones
            lock = replace(lock, last_number=least - 1)
        return values, run, lock, now_ms

    async def _swap(
        self, values: list[bytes], run: bytes, before: TicketLock, after: TicketLock, *, direct: bool
    ) -> bool:
        """Write one line unless it has changed since it was read."""
        conversation_id = after.conversation_id
        keys = (*self._keys.of(conversation_id), self._keys.agenda(self._keys.slot_of(conversation_id)))
        new = [*written(after), self._memo_life(after), self._keys.channel, _hint(before, after, direct=direct)]
        at_ms = self.lines.look_at_ms(after)
        agenda = [conversation_id, "" if at_ms is None else at_ms]
        # A line that does not grow is written even if Redis is full: this is how memory is freed.
        script = _SWAP if len(after.tickets) > len(before.tickets) else _SWAP_BACK
        return bool(await self._servers.run(Call(script, keys, [*values, *new, *agenda, run])))

    def shard_of(self, conversation_id: str) -> Shard:
        """Return the agenda that lists a conversation."""
        return self._keys.slot_of(conversation_id)

    def shards(self) -> Sequence[Shard]:
        """Return the agendas to sweep."""
        return self._schedule.slots()

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Check the lines that are due in the agendas, and reschedule those with nothing to do."""
        await self._schedule.discover()
        ahead_ms = max(0, LEFT_BEHIND_MS - age_ms)  # younger events are scheduled for later
        dues = await self._schedule.read_due(shards, ahead_ms)
        due = [conversation_id for look in dues for conversation_id in look.times]
        found = await self.lines.patrol(due, age_ms)
        left = {str(notice.entry.shard) for notice in found.unannounced if notice.entry is not None}
        await self._servers.replicated(self._keys.of(conversation_id).lock for conversation_id in left)
        busy = {command.conversation_id for command in found.overdue}
        corrections: list[tuple[str, int, int | None]] = []
        next_in_ms: dict[Shard, int] = {}
        for look in dues:
            idle = [conversation_id for conversation_id in look.times if conversation_id not in busy]
            lefts_ms = {conversation_id: self._left_ms(conversation_id, found) for conversation_id in idle}
            for conversation_id, left_ms in lefts_ms.items():
                at_ms = None if left_ms is None else look.now_ms + left_ms
                corrections.append((conversation_id, look.times[conversation_id], at_ms))
            in_ms = _next_in_ms(look, found)
            if in_ms is not None:
                next_in_ms[look.slot] = in_ms
        await self._schedule.correct(corrections)
        found.next_in_ms = next_in_ms
        return found

    def _left_ms(self, conversation_id: str, found: Patrol) -> int | None:
        """Return the time until a line is to be checked again."""
        if self.lines.is_attended(conversation_id):
            return _AGAIN_MS  # behind the other lines that are due: many of these must not monopolize a patrol
        return found.next_in_ms.get(conversation_id)

    def _memo_life(self, lock: TicketLock) -> int | str:
        """Return the time to live of an idle line's memo, "" if it must stay: for unpublished events or live tickets."""
        if lock.tickets or lock.outbox:
            return ""
        return max(self.limits.dedup_window_ms, self.limits.history_keep_ms if lock.history else 0)

    @cached_property
    def _subscription(self) -> HintSubscription:
        return HintSubscription(self._servers, self._keys.channel, self.wakeups, self.hint_unannounced)

    async def follow(self, left_behind: Callable[[Shard], None]) -> None:
        """Subscribe to hints of other processes as well."""
        await super().follow(left_behind)
        await self._subscription.want()


def _next_in_ms(look: Due, found: Patrol) -> int | None:
    """Return the time until something in one agenda is due."""
    if look.is_full:
        return 0  # there may be more
    known = [
        left_ms for conversation_id in look.times if (left_ms := found.next_in_ms.get(conversation_id)) is not None
    ]
    later = [] if look.next_ms is None else [look.next_ms - look.now_ms]
    return min([*known, *later], default=None)


def _hint(before: TicketLock, after: TicketLock, *, direct: bool) -> str:
    """Return the hint to publish: the turn of a direct ticket, or events that a direct caller left to publish."""
    head = after.tickets[0] if after.tickets else None
    if direct and len(after.outbox) > len(before.outbox):
        return f"{OUTBOX_HINT}:{after.conversation_id}"
    if head is None or head.claim is not None or (before.tickets and before.tickets[0].number == head.number):
        return ""
    return f"{head.number}:{after.conversation_id}"
