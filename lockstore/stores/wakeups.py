"""Wake-ups for direct callers that wait for their turn. A hint saves time; correctness never depends on one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Wakeups"]


class Wakeups:
    """The callers in this process that wait for the turn of a ticket."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], asyncio.Event] = {}

    @contextmanager
    def waiting(self, conversation_id: str, number: int) -> Iterator[asyncio.Event]:
        """Register for the turn of one ticket for the duration of the context. Clear the event before checking the turn."""
        event = asyncio.Event()
        self._waiting[conversation_id, number] = event
        try:
            yield event
        finally:
            del self._waiting[conversation_id, number]

    def wake(self, conversation_id: str, number: int) -> None:
        """Wake the caller of this ticket: its turn may have come."""
        event = self._waiting.get((conversation_id, number))
        if event is not None:
            event.set()

    def wake_all(self) -> None:
        """Wake all callers, because hints may have been missed."""
        for event in self._waiting.values():
            event.set()
