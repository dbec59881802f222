"""Where operators' commands read lines: in the lock store itself, or, where that is in memory, from its daemon over HTTP."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import aiohttp
from pydantic import TypeAdapter, ValidationError

from daemon.page.facts import ConversationFacts, LinesFacts, conversation_facts, lines_facts
from daemon.settings import Settings
from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.memory import InMemoryLockStore
from lockstore.store import LockStore
from lockstore.survey import Examination
from lockstore.wire import partition_of

__all__ = ["HttpSource", "PartialSource", "Source", "StoreSource", "source_of"]

_ANSWER_S = 10.0
_FOUND_MOST = 20

T = TypeVar("T")


class Source(Protocol):
    """What can be read. Raises StoreUnavailableError; for one conversation also ConversationError."""

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Give lines, the longest first, and the totals of all."""

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Give one line and its history."""

    async def find(self, text: str) -> list[str]:
        """Give some live conversations whose id contains a text."""

    async def examine(self) -> Examination | None:
        """Tell what is left to announce and to end; None: that cannot be had here."""


class StoreSource:
    """Reads the store."""

    def __init__(self, store: LockStore, partitions: int) -> None:
        self.store = store
        self._partitions = partitions

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Give lines, the longest first, and the totals of all."""
        return lines_facts(await self.store.survey(most, start), start, most)

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Give one line and its history."""
        lock, at_ms = await self.store.view(conversation_id)
        history = await self.store.history(conversation_id)
        return conversation_facts(
            conversation_id, lock, at_ms, history, partition_of(conversation_id, self._partitions)
        )

    async def find(self, text: str) -> list[str]:
        """Give some live conversations whose id contains a text."""
        return await self.store.find(text, _FOUND_MOST)

    async def examine(self) -> Examination | None:
        """Tell what is left to announce and to end."""
        return await self.store.examine()


class HttpSource:
    """Asks a daemon."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Give lines, the longest first, and the totals of all."""
        return _parsed(LinesFacts, await self._get("lines", start=str(start), most=str(most)))

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Give one line and its history."""
        return _parsed(ConversationFacts, await self._get("conversations/", id=conversation_id))

    async def find(self, text: str) -> list[str]:
        """Give some live conversations whose id contains a text."""
        found = await self._get("find", text=text, most=str(_FOUND_MOST))
        return [str(line["conversation_id"]) for line in found["lines"]]

    async def examine(self) -> Examination | None:
        """Give None: a daemon does not tell that."""
        return None

    async def _get(self, place: str, **query: str) -> Any:
        try:
            asking = self._session.get(f"{self._url}/api/v1/{place}", params=query)
            async with asyncio.timeout(_ANSWER_S), asking as answer:
                told = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise StoreUnavailableError(
                f"no daemon answers at {self._url} ({str(error) or type(error).__name__}); start one, or name the one that "
                "holds the tickets with --daemon URL"
            ) from error
        if answer.status == 200:  # noqa: PLR2004 - OK
            return told
        detail = str(told.get("detail"))
        raise ConversationError(detail) if told.get("error") == "damaged" else StoreUnavailableError(detail)


def _parsed(kind: type[T], told: Any) -> T:
    try:
        return TypeAdapter(kind).validate_python(told)
    except ValidationError as error:
        raise StoreUnavailableError("the daemon is of another version, and its answer cannot be read") from error


class PartialSource(StoreSource):
    """Reads a store that cannot list its lines, and asks a daemon, which has seen some, where lines are to be listed."""

    def __init__(self, store: LockStore, partitions: int, daemon: HttpSource) -> None:
        super().__init__(store, partitions)
        self._daemon = daemon

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Give lines that the daemon has seen; without a daemon, what the store itself tells, which may be none."""
        with suppress(StoreUnavailableError):
            return await self._daemon.lines(start, most)
        return await super().lines(start, most)

    async def find(self, text: str) -> list[str]:
        """Likewise, some whose id contains a text."""
        with suppress(StoreUnavailableError):
            return await self._daemon.find(text)
        return await super().find(text)


@asynccontextmanager
async def source_of(settings: Settings, daemon_url: str | None) -> AsyncIterator[Source]:
    """Open what the settings name, or the daemon at this address. Raises ConfigError or StoreUnavailableError."""
    store = create_store(settings.lock_store, settings.daemon.limits, os.environ)
    reads_store = daemon_url is None and not isinstance(store, InMemoryLockStore)
    async with AsyncExitStack() as stack:
        if reads_store:
            stack.push_async_callback(store.close)
            await store.open()
        if reads_store and (store.knows_all_lines or settings.daemon.http_place is None):
            yield StoreSource(store, settings.broker.partitions)
            return
        daemon = HttpSource(await stack.enter_async_context(aiohttp.ClientSession()), daemon_url or _address(settings))
        yield PartialSource(store, settings.broker.partitions, daemon) if reads_store else daemon


def _address(settings: Settings) -> str:
    place = settings.daemon.http_place
    if place is None:
        raise ConfigError(
            "daemon.http: is null, and an in_memory store can only be seen through its daemon; give daemon.http an address"
        )
    host, port = place
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what listens everywhere listens here
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
