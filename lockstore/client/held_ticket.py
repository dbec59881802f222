"""What the body of a lock is given."""

import asyncio

from lockstore.client.call_state import Call
from lockstore.errors import LockLostError

__all__ = ["HeldTicket"]


class HeldTicket:
    """A ticket whose turn it is. Its `number` is the fencing token: give it to whatever the body writes to."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def check(self) -> None:
        """Raise LockLostError if the lease is lost. A body needs this only where it runs in another task than entered."""
        call = self._call
        if call.lost is not None or asyncio.get_running_loop().time() >= call.safe_until:
            why = call.lost.why if call.lost else "it was not renewed in time"
            raise LockLostError(f"ticket {call.number} of {call.wanted.conversation_id!r}: the lease ended: {why}")

    @property
    def number(self) -> int:
        """The fencing token: it rises with each ticket of a conversation.

        Raises LockLostError after the loss of a lease whose body could not be stopped.
        """
        if self._call.is_unguarded:
            self.check()
        return self._call.number

    @property
    def conversation_id(self) -> str:
        """The conversation that is locked."""
        return self._call.wanted.conversation_id

    @property
    def request_id(self) -> str:
        """The request that the ticket was issued for, as it stands in logs and events."""
        return self._call.request_id

    @property
    def expires_at(self) -> float:
        """When the lease ends as things stand, in seconds since the epoch on the lock store's clock. Renewals move it."""
        return self._call.expires_at

    @property
    def safe_until(self) -> float:
        """The moment by which the body must have stopped, on the event loop's clock. Renewals move it.

        Whoever cancels what the body does, as the client itself will at that moment, needs no margin beyond it.
        """
        return self._call.safe_until

    @property
    def waited(self) -> float:
        """Seconds from the request to its turn, by the lock store's clock."""
        granted = self._call.granted
        return granted.waited if granted else 0.0

    def __repr__(self) -> str:
        return f"HeldTicket(number={self._call.number}, conversation_id={self.conversation_id!r})"
