"""A store at which transcripts and tests play, in the same words as the bare rules."""

import inspect
from typing import Any

from lockstore.core.commands import Command, Finish, Issue
from lockstore.core.events import Event
from lockstore.core.line import Limits
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore
from lockstore.stores.results import Notice
from tests.rules.transcript import answer
from tests.rules.words import NOTHING, Words
from tests.stores.clock import Clock


def first_number(store: LockStore) -> int:
    """Give the number of a line's first ticket."""
    return 1 if type(store).__name__ == "ConcurrentRedisLockStore" else 0


async def done(answer: Any) -> Any:
    """Await what one of a store's three methods gave, where it is to be awaited."""
    return await answer if inspect.isawaitable(answer) else answer


async def line_of(store: LockStore, conversation_id: str) -> TicketLock | None:
    """Read a line from any store."""
    lock: TicketLock | None = await done(store.get_lock(conversation_id))
    return lock


class StoreTable:
    """One conversation of a store whose clock is in our hand. It announces and confirms as a daemon does."""

    conversation_id = "c"

    def __init__(self, store: LockStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.words = Words(clock.start_ms, first_number(store))

    async def apply(self, command: Command) -> tuple[Event, ...]:
        if isinstance(command, Issue | Finish):
            await self.store.act(command)
            notices = await self.left_behind()
        else:
            (outcome,) = await self.store.apply([command])
            assert not isinstance(outcome, ConversationError)
            notices = list(outcome)
        await self.store.confirm([notice.entry for notice in notices if notice.entry])
        return tuple(notice.event for notice in notices)

    async def left_behind(self) -> list[Notice]:
        """What direct callers caused, which is a daemon's to announce."""
        return (await self.store.patrol([self.store.shard_of(self.conversation_id)], 10**6)).unannounced

    async def line(self) -> TicketLock | None:
        lock = await line_of(self.store, self.conversation_id)
        return lock if lock is None else TicketLock(lock.conversation_id, lock.tickets)

    async def after(self, ms: int) -> None:
        self.clock.advance(ms)

    def limit(self, limits: Limits) -> None:
        self.store.limits = limits

    async def say(self, *texts: str) -> list[str]:
        """Do what these lines say, and give what was told of all of them."""
        return [told for text in texts for told in await answer(text, self) if told != NOTHING]
