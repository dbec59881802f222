"""`InMemoryLockStore`: lines in this process's memory. They end with it; for one process, and for trying things out."""

import time
from collections import deque
from typing import TypeVar

from lockstore.lines import Step
from lockstore.store import LockStore
from lockstore.ticket import TicketLock

__all__ = ["InMemoryLockStore"]

T = TypeVar("T")


class InMemoryLockStore(LockStore):
    """Keep lines in memory. Of an idle conversation only its last number stays, so that none is ever given twice."""

    def __init__(self) -> None:
        self._locks: dict[str, TicketLock] = {}
        self._numbers: dict[str, int] = {}
        self._forgetting: deque[tuple[int, str]] = deque()

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
        now_ms = time.time_ns() // 1_000_000
        after, told = step(self._line(conversation_id), now_ms)
        self._keep(after)
        if after.ended:
            self._forgetting.append((after.ended[-1].forget_at_ms, conversation_id))
        self._forget(now_ms)
        return told

    async def read(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        """Read one line."""
        return self._line(conversation_id), time.time_ns() // 1_000_000

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

    def _forget(self, now_ms: int) -> None:
        """Drop what is remembered of idle conversations once it is old enough, a few at each step."""
        for _ in range(4):
            if not self._forgetting or self._forgetting[0][0] > now_ms:
                return
            _, conversation_id = self._forgetting.popleft()
            lock = self._locks.get(conversation_id)
            if lock is not None:
                ended = tuple(item for item in lock.ended if item.forget_at_ms > now_ms)
                self._keep(TicketLock(conversation_id, lock.tickets, lock.last_number, ended, lock.outbox))
