"""Wake-ups for callers that wait for their turn directly. A hint saves time; no correctness rests on one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Wakeups"]


class Wakeups:
    """Who in this process waits for which ticket's turn."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], asyncio.Event] = {}

    @contextmanager
    def waiting(self, conversation_id: str, number: int) -> Iterator[asyncio.Event]:
        """Listen for the turn of one ticket while the context lasts. The caller clears the event before it looks."""
        event = asyncio.Event()
        self._waiting[conversation_id, number] = event
        try:
            yield event
        finally:
            del self._waiting[conversation_id, number]

    def wake(self, conversation_id: str, number: int) -> None:
        """Say that this ticket's turn may have come."""
        event = self._waiting.get((conversation_id, number))
        if event is not None:
            event.set()

    def wake_all(self) -> None:
        """Have everyone look again: hints may have been missed."""
        for event in self._waiting.values():
            event.set()
