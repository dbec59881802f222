"""Stores of somebody's own whose calls never come back."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Never

from lockstore.core.commands import Command
from lockstore.stores.memory import InMemoryLockStore


class DeafStore(InMemoryLockStore):
    """Takes no notice of a cancellation."""

    async def apply(self, commands: Sequence[Command]) -> Never:
        """Wait for ever."""
        del commands
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue


class BlockingStore(InMemoryLockStore):
    """Blocks the event loop."""

    async def apply(self, commands: Sequence[Command]) -> Never:
        """Wait for ever, and let nothing else run."""
        del commands
        while True:
            threading.Event().wait()
