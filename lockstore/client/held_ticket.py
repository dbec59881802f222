"""The ticket passed to the body of a lock."""

import asyncio

from lockstore.client.call_state import Call

__all__ = ["HeldTicket"]


class HeldTicket:
    """A granted ticket. Its `number` is the fencing token: pass it to whatever the body writes to."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def check(self) -> None:
        """Raise LockLostError if the lease is lost. Only needed in a body that runs in another task than the one that entered."""
        self._call.body.note_use()
        self.check_at(asyncio.get_running_loop().time())

    def check_at(self, now: float) -> None:
        """Do the same for a time of the event loop's clock."""
        if self._call.lost is not None or now >= self._call.safe_until:
            raise self._call.lost_error("it was not renewed in time")

    @property
    def number(self) -> int:
        """The fencing token: it increases with each ticket of a conversation.

        Raises LockLostError if the lease is lost and the body could not be stopped.
        """
        self._call.body.note_use()
        if self._call.is_unguarded:
            self.check()
        return self._call.number

    @property
    def conversation_id(self) -> str:
        """The conversation that is locked."""
        self._call.body.note_use()
        return self._call.params.conversation_id

    @property
    def request_id(self) -> str:
        """The request id of the ticket, as in logs and events."""
        self._call.body.note_use()
        return self._call.request_id

    @property
    def expires_at(self) -> float:
        """The current end of the lease, in seconds since the Unix epoch on the lock store's clock. Renewals extend it."""
        self._call.body.note_use()
        return self._call.expires_at

    @property
    def safe_until(self) -> float:
        """The time by which the body must have stopped, on the event loop's clock. Renewals extend it.

        It already includes a safety margin; the client cancels the body at that time.
        """
        self._call.body.note_use()
        return self._call.safe_until

    @property
    def waited(self) -> float:
        """Seconds from the request to the grant, on the lock store's clock."""
        granted = self._call.granted
        return granted.waited if granted else 0.0

    def __repr__(self) -> str:
        return f"HeldTicket(number={self._call.number}, conversation_id={self.conversation_id!r})"
