"""`RedisLockStore`: one serialized line per conversation, in Rasa's keys and JSON, changed by compare-and-set."""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from lockstore.connection import Server
from lockstore.errors import ConversationError
from lockstore.keys import RedisKeys
from lockstore.lines import Step
from lockstore.options import RedisOptions
from lockstore.outcomes import LEFT_BEHIND_MS, Patrol, Shard
from lockstore.scripts import load
from lockstore.store import LockStore
from lockstore.subscription import OUTBOX_HINT, Subscription
from lockstore.ticket import TicketLock

__all__ = ["RedisLockStore"]

T = TypeVar("T")

_BACKOFF_S = 0.002  # mean pause after another writer was faster; grows with each time
_SCRIPTS = (load("read_lock"), load("swap_lock"), load("agenda"), load("reschedule"))
_READ, _SWAP, _AGENDA, _RESCHEDULE = _SCRIPTS
_ONE_SHARD = 0  # deadlines and outboxes are all found by one agenda
_PATROL_MOST = 1000  # lines that one look at the agenda brings
_AGAIN_MS = 500  # until a line is looked at again in which something happens that this process may not hear of


class RedisLockStore(LockStore):
    """Keep lines as Rasa's `redis` lock store does, so that either finds the other's. Its data may be taken over as is.

    Beside Rasa's key stand two of our own, in the same hash slot: the last number issued, and a memo of what must be
    remembered or announced. An agenda, written in the same step, tells every daemon which lines to look at, and when.
    """

    parallel = True

    def __init__(self, options: RedisOptions) -> None:
        self._keys = RedisKeys(options.key_prefix)
        self._server = Server(options, _SCRIPTS)

    async def open(self) -> None:
        """Connect, and put lines that Rasa wrote on the agenda."""
        found: list[tuple[Any, ...]] = []
        async for key in self._server.scan(f"{self._keys.lock_start}*"):
            found.append(("ZADD", self._keys.agenda, "NX", 0, key.removeprefix(self._keys.lock_start)))
            if len(found) == _PATROL_MOST:
                await self._server.run_all([], found)
                found.clear()
        await self._server.run_all([], found)

    async def warnings(self) -> list[str]:
        """Say what is doubtful about the server's settings."""
        return await self._server.warnings()

    async def close(self) -> None:
        """Let go of connections."""
        await self._subscription.close()
        await self._server.close()

    async def get_lock(self, conversation_id: str) -> TicketLock | None:
        """Read a line, or None where nobody stands."""
        lock, _ = await self.read(conversation_id)
        return lock if lock is not None and lock.tickets else None

    async def save_lock(self, lock: TicketLock) -> None:
        """Write a line over whatever stands there, as Rasa does. Numbers go no lower."""
        await self.transform(lock.conversation_id, lambda before, _: (lock.in_place_of(before), None))

    async def delete_lock(self, conversation_id: str) -> None:
        """Remove a line, but not its last number."""
        await self.save_lock(TicketLock(conversation_id))

    async def read(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Read one line, and the server's clock in ms."""
        keys = self._keys.of(conversation_id)
        now_ms, *values = await self._server.run(_READ, keys, ())
        if not any(values):
            return None, now_ms
        return _parsed(conversation_id, values), now_ms

    async def listen(self, conversation_id: str) -> None:  # noqa: ARG002 - one channel speaks of all conversations
        """Subscribe to the hints of other processes."""
        await self._subscription.want()

    async def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> T:
        """Change one line by compare-and-set: read, step, write if nobody else has written; otherwise again."""
        keys = self._keys.of(conversation_id)
        mutex = self._mutexes.setdefault(conversation_id, asyncio.Lock())
        async with mutex:
            for tries in range(1_000_000):
                now_ms, *values = await self._server.run(_READ, keys, ())
                before = _parsed(conversation_id, values)
                after, told = step(before, now_ms)
                if after == before:
                    return told
                at_ms = self.lines.look_at_ms(after)
                hint = _hint(before, after, direct=direct)
                written = [*_written(after), self._memo_life(after), self._keys.channel, hint]
                agenda = [conversation_id, "" if at_ms is None else at_ms]
                if await self._server.run(_SWAP, (*keys, self._keys.agenda), [*values, *written, *agenda]):
                    return told
                await asyncio.sleep(random.uniform(0, 2 * _BACKOFF_S) * min(tries + 1, 10))  # noqa: S311 - no secret
        message = "others kept changing this line"
        raise ConversationError(message)

    def shard_of(self, conversation_id: str) -> Shard:  # noqa: ARG002 - there is one
        """Give the one shard that there is."""
        return _ONE_SHARD

    def shards(self) -> Sequence[Shard]:
        """Give the one shard that there is."""
        return (_ONE_SHARD,)

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:  # noqa: ARG002 - there is one
        """Look at the lines that the agenda names, and correct it where nothing was due."""
        ahead_ms = max(0, LEFT_BEHIND_MS - age_ms)  # what is younger than usual is on the agenda for later
        now_ms, next_ms, due = await self._server.run(_AGENDA, (self._keys.agenda,), (_PATROL_MOST, ahead_ms))
        times = {member.decode(): score for member, score in zip(due[::2], due[1::2], strict=True)}
        found = await self.lines.patrol(list(times), age_ms)
        busy = {command.conversation_id for command in found.overdue}
        corrections = []
        for conversation_id, at_ms in times.items():
            if conversation_id in busy:
                continue
            left_ms = found.next_in_ms.get(conversation_id)
            if self.lines.is_attended(conversation_id):
                left_ms = _AGAIN_MS  # behind the others that are due: many of these must not keep one look busy
            args = (conversation_id, at_ms, "" if left_ms is None else now_ms + left_ms)
            corrections.append((_RESCHEDULE, (self._keys.agenda,), args))
        await self._server.run_all(corrections)
        times_left = [*found.next_in_ms.values(), *([next_ms - now_ms] if next_ms >= 0 else [])]
        if len(times) == _PATROL_MOST:
            times_left.append(0)  # there may be more
        found.next_in_ms = {_ONE_SHARD: min(times_left)} if times_left else {}
        return found

    def _memo_life(self, lock: TicketLock) -> int | str:
        """Let what is remembered of an idle line go by itself; what must be announced, or bears on live tickets, stays."""
        return "" if lock.tickets or lock.outbox else self.limits.dedup_window_ms

    @cached_property
    def _subscription(self) -> Subscription:
        return Subscription(self._server.client, self._keys.channel, self.wakeups, self.tell_left_behind)

    async def follow(self, left_behind: Callable[[Shard], None]) -> None:
        """Listen to other processes' hints, too."""
        await super().follow(left_behind)
        await self._subscription.want()


def _hint(before: TicketLock, after: TicketLock, *, direct: bool) -> str:
    """Say whose turn has come, if it is a direct ticket's; or that a direct caller left events to announce."""
    head = after.tickets[0] if after.tickets else None
    if direct and len(after.outbox) > len(before.outbox):
        return f"{OUTBOX_HINT}:{after.conversation_id}"
    if head is None or head.claim is not None or (before.tickets and before.tickets[0].number == head.number):
        return ""
    return f"{head.number}:{after.conversation_id}"


def _parsed(conversation_id: str, values: Sequence[bytes]) -> TicketLock:
    lock, last, memo = values
    try:
        data: dict[str, Any] = {}
        if memo:
            data |= json.loads(memo)
        if lock:
            data |= json.loads(lock)
        if last:
            data["last_number"] = int(last)
        data["conversation_id"] = conversation_id
        return TicketLock.from_dict(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"its value in Redis is not a lock: {type(error).__name__}: {error}"
        raise ConversationError(message) from error


def _written(lock: TicketLock) -> tuple[str, str, str]:
    data = lock.as_dict()
    rasa = {"conversation_id": lock.conversation_id, "tickets": data["tickets"]}
    memo = {name: data[name] for name in ("ended", "outbox") if name in data}
    return (
        json.dumps(rasa) if lock.tickets else "",
        "" if lock.last_number is None else str(lock.last_number),
        json.dumps(memo) if memo else "",
    )
