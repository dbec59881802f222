"""Reads lines through a daemon, over HTTP. Imported only when needed, because aiohttp is slow to import."""

import asyncio
from typing import Any, Self, TypeVar

import aiohttp
from pydantic import TypeAdapter, ValidationError

from daemon.views.lines import ConversationFacts, LinesFacts
from lockstore.core.statistics import Backlog
from lockstore.errors import ConversationError, StoreUnavailableError

__all__ = ["HttpLineReader"]

_ANSWER_S = 10.0
_FOUND_MOST = 20

T = TypeVar("T")


class HttpLineReader:
    """Queries a daemon: `async with HttpLineReader(url) as source:`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Return lines, longest first, and the totals of all."""
        return _parsed(LinesFacts, await self._get("lines", start=str(start), most=str(most)))

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Return one line and its history."""
        return _parsed(ConversationFacts, await self._get("conversations/", id=conversation_id))

    async def find(self, text: str) -> list[str]:
        """Return live conversations whose id contains a text."""
        found = await self._get("find", text=text, most=str(_FOUND_MOST))
        return [str(line["conversation_id"]) for line in found["lines"]]

    async def backlog(self) -> Backlog | None:
        """Return the backlog; None: the daemon does not know it at the moment."""
        found = (await self._get("status")).get("backlog")
        return None if found is None else _parsed(Backlog, found)

    async def _get(self, place: str, **query: str) -> Any:
        try:
            asking = self._session.get(f"{self._url}/api/v1/{place}", params=query)
            async with asyncio.timeout(_ANSWER_S), asking as answer:
                body = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise StoreUnavailableError(
                f"no daemon answers at {self._url} ({str(error) or type(error).__name__}); start one, or name the one that "
                "holds the tickets with --daemon URL"
            ) from error
        if answer.status == 200:  # noqa: PLR2004 - OK
            return body
        detail = str(body.get("detail"))
        raise ConversationError(detail) if body.get("error") == "damaged" else StoreUnavailableError(detail)


def _parsed(kind: type[T], body: Any) -> T:
    try:
        return TypeAdapter(kind).validate_python(body)
    except ValidationError as error:
        raise StoreUnavailableError("the daemon is of another version, and its answer cannot be read") from error
