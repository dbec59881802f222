"""The ticket inside the body of a lock of the blocking client."""

import os
import threading
import time

from lockstore.client.held_ticket import HeldTicket
from lockstore.errors import LockLostError

__all__ = ["ThreadTicket"]


class ThreadTicket(HeldTicket):
    """A granted ticket, for any thread. `safe_until` is on the clock of `time.monotonic`."""

    __slots__ = ("_process", "lost")

    def __init__(self, held: HeldTicket) -> None:
        super().__init__(held._call)  # noqa: SLF001 - of its own base class
        self.lost = threading.Event()
        """Set when the lease is lost, before it can have ended: from then on there may be another holder."""
        self._process = os.getpid()

    def check(self) -> None:
        """Raise LockLostError if the lease is lost. It asks the clock, too, so it is right also where `lost` comes late."""
        if os.getpid() != self._process:
            raise LockLostError(
                f"ticket {self._call.number} of {self._call.params.conversation_id!r} is held by the process that was forked,"
                " and not by this one"
            )
        self.check_at(time.monotonic())
