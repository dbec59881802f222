"""Waiting for the turn of a direct ticket by polling; hints only shorten the wait."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from lockstore.core.ticket import TicketLock
from lockstore.errors import LockError
from lockstore.stores.results import Turn
from lockstore.stores.wakeups import Wakeups

__all__ = ["TurnStore", "wait_for_turn"]

_GRACE_S = 0.005  # added to a deadline, so that the store's clock has passed it


class TurnStore(Protocol):
    """The store interface that waiting needs."""

    @property
    def wakeups(self) -> Wakeups:
        """The callers in this process that wait for a turn."""

    def listen(self, conversation_id: str) -> Awaitable[None]:
        """Ensure that wake-up hints for this conversation arrive, if the store has hints."""

    def turn(self, conversation_id: str, number: int) -> Awaitable[Turn]:
        """Return the state of a direct ticket."""


async def wait_for_turn(store: TurnStore, conversation_id: str, number: int, poll_s: float) -> TicketLock:
    """Wait until the ticket is at the head, and return the line. Raises LockError if the ticket ends before that."""
    loop = asyncio.get_running_loop()
    with store.wakeups.waiting(conversation_id, number) as hint:
        await store.listen(conversation_id)
        while True:
            hint.clear()
            turn = await store.turn(conversation_id, number)
            if not turn.in_line:
                raise LockError(f"ticket {number} of conversation {conversation_id!r} ended before its turn came")
            if turn.line is not None:
                return turn.line
            # The timer sets the event instead of cancelling, so that it cannot be confused with a cancellation by the
            # caller.
            timer = loop.call_later(min(poll_s, turn.left_ms / 1000 + _GRACE_S), hint.set)
            try:
                await hint.wait()
            finally:
                timer.cancel()
