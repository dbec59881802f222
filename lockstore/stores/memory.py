"""`InMemoryLockStore`: lines in this process's memory, for a single process and for trying things out."""

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
    """Keep lines in memory. An idle conversation keeps only its last number, so that no number is issued twice."""

    knows_all_lines = True
    looks_most = 100_000  # reading costs no round trip

    def __init__(self) -> None:
        self._locks: dict[str, TicketLock] = {}
        self._numbers: dict[str, int] = {}
        self._forgetting: list[tuple[int, str]] = []  # a heap: time, conversation with data to expire
        self._to_forget: set[str] = set()  # the conversations in that heap

    async def get_lock(self, conversation_id: str) -> TicketLock | None:
        """Return the line, or None if it is empty."""
        lock = self._locks.get(conversation_id)
        return lock if lock is not None and lock.tickets else None

    async def save_lock(self, lock: TicketLock) -> None:
        """Replace the line. The last number never decreases."""
        self._keep(lock.in_place_of(self._line(lock.conversation_id)))

    async def delete_lock(self, conversation_id: str) -> None:
        """Delete the line, but keep its last number."""
        await self.save_lock(TicketLock(conversation_id))

    async def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> T:  # noqa: ARG002
        """Change one line, synchronously."""
        self.direct.event_loop.check()
        now_ms = time.time_ns() // 1_000_000
        after, result = step(self._line(conversation_id), now_ms)
        self._keep(after)
        if conversation_id not in self._to_forget:
            self._remember_to_forget(after)
        self._forget(now_ms)
        return result

    async def enter(self, conversation_id: str, lifetime_ms: int) -> tuple[int, Turn]:
        """Issue a direct ticket synchronously, so numbers follow the order of the calls."""
        [entered] = await self.lines.issue_all(conversation_id, [NewTicket(lifetime_ms, 0)], self.limits)
        self.hint_unannounced(conversation_id)
        return entered

    async def read(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Return one line and the clock in ms."""
        return self._line(conversation_id), time.time_ns() // 1_000_000

    async def roster(self) -> AsyncIterator[Sequence[str]]:
        """Iterate over all conversations that have tickets."""
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
        """Schedule the expiry of everything that a conversation retains besides its tickets."""
        over = [ended.forget_at_ms for ended in lock.ended]
        over += [happened_at_ms(kept) + self.limits.history_keep_ms for kept in lock.history]
        if over:
            heapq.heappush(self._forgetting, (max(over), lock.conversation_id))
            self._to_forget.add(lock.conversation_id)

    def _forget(self, now_ms: int) -> None:
        """Expire retained data of idle conversations, a few at each step."""
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
