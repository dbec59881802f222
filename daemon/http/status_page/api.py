"""The JSON API, for programs: the facts as they are."""

from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from daemon.http.status_page import query as asked
from daemon.http.status_page.query import AskedError
from daemon.http.status_page.reader import LINES_MOST, PAGE_LINES, StatusReader
from daemon.views.findings import check_damage
from lockstore.core.statistics import DEEPEST
from lockstore.errors import ConversationError, StoreUnavailableError

__all__ = ["API", "Api"]

API = "/api/v1"

Handler = Callable[[web.Request], Awaitable[web.Response]]


class _DamagedError(Exception):
    def __init__(self, conversation_id: str, detail: str) -> None:
        super().__init__(detail)
        self.conversation_id = conversation_id
        self.detail = detail


class Api:
    """One method for each place."""

    def __init__(self, status_reader: StatusReader) -> None:
        self._status_reader = status_reader

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each path."""
        found = {
            "/status": self._status,
            "/lines": self._lines,
            "/find": self._find,
            "/conversations/{rest:(?s:.*)}": self._conversation,
        }
        return {f"{API}{place}": _answering(facts) for place, facts in found.items()}

    async def _status(self, request: web.Request) -> Any:
        asked.only(request)
        return await self._status_reader.status()

    async def _lines(self, request: web.Request) -> Any:
        asked.only(request, "start", "most")
        start = asked.whole_number(request, "start", 0, 0, DEEPEST)
        lines = await self._status_reader.lines(start, _most(request))
        return _fields(lines) | {"findings": await self._status_reader.lines_findings(lines)}

    async def _find(self, request: web.Request) -> Any:
        asked.only(request, "text", "most")
        text = asked.search_text(request, "text")
        if not text:
            raise AskedError("text: must not be empty")
        found = await self._status_reader.find(text, _most(request))
        return _fields(found) | {"findings": await self._status_reader.line_findings(found.lines)}

    async def _conversation(self, request: web.Request) -> Any:
        asked.only(request, "id")
        conversation_id = asked.conversation_id(request, f"{API[1:]}/conversations/")
        try:
            facts = await self._status_reader.conversation(conversation_id)
        except ConversationError as error:
            raise _DamagedError(conversation_id, str(error)) from error
        findings, exists = await self._status_reader.conversation_findings(facts)
        return _fields(facts) | {"reply_queues": exists, "findings": findings}


def _most(request: web.Request) -> int:
    return asked.whole_number(request, "most", PAGE_LINES, 1, LINES_MOST)


def _answering(facts: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        try:
            return _json(200, await facts(request))
        except AskedError as error:
            return _json(400, {"error": "invalid", "detail": str(error)})
        except StoreUnavailableError as error:
            return _json(503, {"error": "store_away", "detail": str(error)})
        except _DamagedError as error:
            findings = [check_damage(error.conversation_id, error.detail)]
            return _json(500, {"error": "damaged", "detail": error.detail, "findings": findings})

    return answer


def _fields(facts: Any) -> dict[str, Any]:
    return {field.name: getattr(facts, field.name) for field in fields(facts)}


def _json(status: int, facts: Any) -> web.Response:
    return web.Response(status=status, body=to_json(facts) + b"\n", content_type="application/json")
