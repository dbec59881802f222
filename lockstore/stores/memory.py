"""`InMemoryLockStore`: lines in this process's memory. They end with it; for one process, and for trying things out."""

import heapq
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TypeVar

from lockstore.core.events import happened_at_ms
from lockstore.core.line import history_at
from lockstore.core.ticket import TicketLock
from lockstore.stores.base import LockStore
from lockstore.stores.line_engine import Step
from lockstore.stores.results import NewTicket, Turn

__all__ = ["InMemoryLockStore"]

T = TypeVar("T")


class InMemoryLockStore(LockStore):
    """Keep lines in memory. Of an idle conversation only its last number stays, so that none is ever given twice."""

    knows_all_lines = True
    looks_most = 100_000  # there is nothing to wait for

    def __init__(self) -> None:
        self._locks: dict[str, TicketLock] = {}
        self._numbers: dict[str, int] = {}
        self._forgetting: list[tuple[int, str]] = []  # a heap: when to look what of a conversation may be forgotten
        self._to_forget: set[str] = set()  # the conversations in it

    async def get_lock(self, conversation_id: str) -> TicketLock | None:
        """Give the line, or None where nobody stands."""
        lock = self._locks.get(conversation_id)
        return lock if lock is not None and lock.tickets else None

    async def save_lock(self, lock: TicketLock) -> None:
        """Take the lock as the line. Numbers go no lower."""
        self._keep(lock.in_place_of(self._line(lock.conversation_id)))

    async def delete_lock(self, conversation_id: str) -> None:
        """Remove the line, but not its last number."""
        await self.save_lock(TicketLock(conversation_id))

    async def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> T:  # noqa: ARG002
        """Change one line; nothing else runs meanwhile."""
        self.direct.event_loop.check()
        now_ms = time.time_ns() // 1_000_000
        after, told = step(self._line(conversation_id), now_ms)
        self._keep(after)
        if conversation_id not in self._to_forget:
            self._remember_to_forget(after)
        self._forget(now_ms)
        return told

    async def enter(self, conversation_id: str, lifetime_ms: int) -> tuple[int, Turn]:
        """Issue a direct ticket: at once, so nothing can come between the call and the number."""
        [entered] = await self.lines.issue_all(conversation_id, [NewTicket(lifetime_ms, 0)], self.limits)
        self.hint_unannounced(conversation_id)
        return entered

    async def read(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Read one line."""
        return self._line(conversation_id), time.time_ns() // 1_000_000

    async def roster(self) -> AsyncIterator[Sequence[str]]:
        """Go through all conversations in which somebody stands."""
        yield [name for name, lock in self._locks.items() if lock.tickets]

    def _line(self, conversation_id: str) -> TicketLock:
        lock = self._locks.get(conversation_id)
        return TicketLock(conversation_id, None, self._numbers.get(conversation_id)) if lock is None else lock

    def _keep(self, lock: TicketLock) -> None:
        if not lock.is_forgettable:
            self._locks[lock.conversation_id] = lock
            return
        self._locks.pop(lock.conversation_id, None)
        if lock.last_number is not None:
            self._numbers[lock.conversation_id] = lock.last_number

    def _remember_to_forget(self, lock: TicketLock) -> None:
        """Note when all that is remembered of a conversation, its tickets apart, is old enough."""
        over = [ended.forget_at_ms for ended in lock.ended]
        over += [happened_at_ms(kept) + self.limits.history_keep_ms for kept in lock.history]
        if over:
            heapq.heappush(self._forgetting, (max(over), lock.conversation_id))
            self._to_forget.add(lock.conversation_id)

    def _forget(self, now_ms: int) -> None:
        """Drop what is remembered of idle conversations once it is old enough, a few at each step."""
        for _ in range(4):
            if not self._forgetting or self._forgetting[0][0] > now_ms:
                return
            _, conversation_id = heapq.heappop(self._forgetting)
            self._to_forget.discard(conversation_id)
            lock = self._locks.get(conversation_id)
            if lock is None:
                continue
            ended = tuple(item for item in lock.ended if item.forget_at_ms > now_ms)
            left = replace(lock, ended=ended, history=history_at(now_ms, lock.history, self.limits))
            self._keep(left)
            self._remember_to_forget(left)
