"""Waiting for the turn of a direct ticket: hints wake, and looking now and then is what it rests on."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from lockstore.core.ticket import TicketLock
from lockstore.errors import LockError
from lockstore.stores.results import Turn
from lockstore.stores.wakeups import Wakeups

__all__ = ["TurnStore", "wait_for_turn"]

_GRACE_S = 0.005  # after a deadline, so that the store's clock has surely passed it


class TurnStore(Protocol):
    """What is needed of a store."""

    @property
    def wakeups(self) -> Wakeups:
        """Who in this process waits for a turn."""

    def listen(self, conversation_id: str) -> Awaitable[None]:
        """Make sure that hints about this conversation arrive, where the store has any."""

    def turn(self, conversation_id: str, number: int) -> Awaitable[Turn]:
        """Tell how a direct ticket stands."""


async def wait_for_turn(store: TurnStore, conversation_id: str, number: int, poll_s: float) -> TicketLock:
    """Wait until it is a ticket's turn, and give the line. Raises LockError when the ticket is gone before."""
    loop = asyncio.get_running_loop()
    with store.wakeups.waiting(conversation_id, number) as hint:
        await store.listen(conversation_id)
        while True:
            hint.clear()
            turn = await store.turn(conversation_id, number)
            if not turn.stands:
                raise LockError(f"ticket {number} of conversation {conversation_id!r} ended before its turn came")
            if turn.line is not None:
                return turn.line
            # The time being up is one more hint: nothing is cancelled for it, so no cancellation can be taken for it.
            timer = loop.call_later(min(poll_s, turn.left_ms / 1000 + _GRACE_S), hint.set)
            try:
                await hint.wait()
            finally:
                timer.cancel()
