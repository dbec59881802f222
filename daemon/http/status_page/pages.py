"""The pages, for people: the facts filled into the templates."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from daemon.http.cache import Cache
from daemon.http.status_page import query as asked
from daemon.http.status_page.panels import panels
from daemon.http.status_page.plots import HEIGHT, WIDTH
from daemon.http.status_page.query import AskedError
from daemon.http.status_page.reader import PACE, PAGE_LINES, StatusReader
from daemon.http.status_page.rendering import FAVICON, HTML_HEADERS, Renderer
from daemon.monitoring.timeline import KEPT_S
from daemon.views.findings import Finding, distinct
from lockstore.core.statistics import DEEPEST
from lockstore.errors import ConversationError, StoreUnavailableError

if TYPE_CHECKING:
    from daemon.views.lines import LinesFacts

__all__ = ["Pages"]

_KEPT_MOST = 32  # pages
_FINDINGS_MOST = 20  # that are shown at the top
_AT_ONCE = 16  # while the store is slow, each of them may wait for it

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Pages:
    """One method for each page."""

    def __init__(self, status_reader: StatusReader, renderer: Renderer) -> None:
        self._status_reader = status_reader
        self._renderer = renderer
        self._kept: Cache[str] = Cache(_KEPT_MOST, _AT_ONCE, PACE, status_reader.clock)

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each path."""
        return {
            "/": self._answering(self._status),
            "/conversations/{rest:(?s:.*)}": self._answering(self._conversation),
            "/favicon.svg": _favicon,
        }

    async def _status(self, request: web.Request) -> str:
        text = asked.search_text(request, "find")
        start = asked.whole_number(request, "start", 0, 0, DEEPEST)
        page: LinesFacts | None = None
        found, store_away = None, None
        try:
            if text:
                found = await self._status_reader.find(text, PAGE_LINES)
            else:
                page = await self._status_reader.lines(start, PAGE_LINES)
        except StoreUnavailableError as error:
            store_away = str(error)
        shown = found or page
        lines = shown.lines if shown else ()
        status = await self._status_reader.status()
        own = self._status_reader.own_findings()  # which the page shows by themselves
        findings = [finding for finding in status.findings if finding not in own]
        by_subject: dict[str, list[Finding]] = {}
        for finding in distinct([*findings, *await self._status_reader.line_findings(lines)]):
            by_subject.setdefault(finding.subject, []).append(finding)
        return self._renderer.page(
            "status.html",
            _root(request),
            status=status,
            found=found,
            page=page,
            lines=lines,
            findings=findings[:_FINDINGS_MOST],
            findings_total=len(findings),
            by_subject=by_subject,
            store_away=store_away,
            panels=panels(status.minutes),
            minutes_shown=KEPT_S // 60,
            deepest=DEEPEST,
            width=WIDTH,
            height=HEIGHT,
        )

    async def _conversation(self, request: web.Request) -> str:
        conversation_id = asked.conversation_id(request, "conversations/")
        facts: dict[str, Any] = {
            "conversation": None,
            "store_away": None,
            "damaged": None,
            "findings": (),
            "exists": {},
        }
        try:
            facts["conversation"] = conversation = await self._status_reader.conversation(conversation_id)
            facts["findings"], facts["exists"] = await self._status_reader.conversation_findings(conversation)
        except StoreUnavailableError as error:
            facts["store_away"] = str(error)
        except ConversationError as error:
            facts["damaged"] = str(error)
        return self._renderer.page("conversation.html", _root(request), conversation_id=conversation_id, **facts)

    def _answering(self, page: Callable[[web.Request], Awaitable[str]]) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            try:
                return _html(200, await self._kept.get(request.raw_path, lambda: page(request)))
            except AskedError as error:
                problem = {"title": "This cannot be shown", "detail": str(error)}
                return _html(400, self._renderer.page("problem.html", _root(request), **problem))

        return answer


def _root(request: web.Request) -> str:
    """Lead back to the status page from here, whatever a proxy has put before the path."""
    return "../" * (request.rel_url.raw_path.count("/") - 1) or "./"


def _html(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", headers=HTML_HEADERS)


async def _favicon(_: web.Request) -> web.Response:
    return web.Response(body=FAVICON, content_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
