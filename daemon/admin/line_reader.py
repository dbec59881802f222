"""Reads lines for commands: from the lock store, or, if it is in memory, from its daemon over HTTP."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

from daemon.config.settings import Settings
from daemon.views.lines import ConversationFacts, LinesFacts, conversation_facts, lines_facts
from lockstore.core.statistics import Backlog
from lockstore.errors import ConfigError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.protocol.naming import partition_of
from lockstore.stores.base import LockStore
from lockstore.stores.memory import InMemoryLockStore

__all__ = ["LineReader", "PartialLineReader", "StoreLineReader", "open_line_reader"]

_FOUND_MOST = 20


class LineReader(Protocol):
    """The interface of line readers. Raises StoreUnavailableError; for one conversation also ConversationError."""

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Return lines, longest first, and the totals of all."""

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Return one line and its history."""

    async def find(self, text: str) -> list[str]:
        """Return live conversations whose id contains a text."""

    async def backlog(self) -> Backlog | None:
        """Return the backlog; None: not available here."""


class StoreLineReader:
    """Reads the store."""

    def __init__(self, store: LockStore, partitions: int) -> None:
        self.store = store
        self._partitions = partitions

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Return lines, longest first, and the totals of all."""
        return lines_facts(await self.store.statistics(most, start), start, most)

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Return one line and its history."""
        lock, at_ms = await self.store.view(conversation_id)
        history = await self.store.history(conversation_id)
        return conversation_facts(
            conversation_id, lock, at_ms, history, partition_of(conversation_id, self._partitions)
        )

    async def find(self, text: str) -> list[str]:
        """Return live conversations whose id contains a text."""
        return await self.store.find(text, _FOUND_MOST)

    async def backlog(self) -> Backlog | None:
        """Return the backlog."""
        return await self.store.backlog()


class PartialLineReader(StoreLineReader):
    """Reads a store that cannot list its lines, and lists those that a daemon has seen."""

    def __init__(self, store: LockStore, partitions: int, daemon: LineReader) -> None:
        super().__init__(store, partitions)
        self._daemon = daemon

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Return lines that the daemon has seen; without a daemon, what the store itself lists, which may be nothing."""
        with suppress(StoreUnavailableError):
            return await self._daemon.lines(start, most)
        return await super().lines(start, most)

    async def find(self, text: str) -> list[str]:
        """Return live conversations whose id contains a text, likewise."""
        with suppress(StoreUnavailableError):
            return await self._daemon.find(text)
        return await super().find(text)


@asynccontextmanager
async def open_line_reader(settings: Settings, daemon_url: str | None) -> AsyncIterator[LineReader]:
    """Open the store in the settings, or the daemon at this address. Raises ConfigError or StoreUnavailableError."""
    store = create_store(settings.lock_store, settings.daemon.limits, os.environ)
    reads_store = daemon_url is None and not isinstance(store, InMemoryLockStore)
    async with AsyncExitStack() as stack:
        if reads_store:
            stack.push_async_callback(store.close)
            await store.open()
        if reads_store and (store.knows_all_lines or settings.daemon.http_place is None):
            yield StoreLineReader(store, settings.broker.partitions)
            return
        from daemon.admin.http_line_reader import HttpLineReader  # noqa: PLC0415 - slow to import

        daemon = await stack.enter_async_context(HttpLineReader(daemon_url or _address(settings)))
        yield PartialLineReader(store, settings.broker.partitions, daemon) if reads_store else daemon


def _address(settings: Settings) -> str:
    place = settings.daemon.http_place
    if place is None:
        raise ConfigError(
            "daemon.http: is null, and an in_memory store can only be seen through its daemon; give daemon.http an address"
        )
    host, port = place
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a server on all addresses also listens on the loopback address
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
