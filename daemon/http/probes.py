"""What machines read: is the daemon alive, does it serve, and the figures."""

import json
from typing import Any

from aiohttp import web
from aiohttp.web_routedef import AbstractRouteDef
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from daemon.http.metrics.exposition import registry_of
from daemon.http.poller import StorePoller
from daemon.serving.runtime import Runtime

__all__ = ["routes"]

_OK, _UNAVAILABLE = 200, 503


def routes(runtime: Runtime, poller: StorePoller) -> list[AbstractRouteDef]:
    """Return the routes of one daemon."""
    registry = registry_of(runtime, poller)

    async def livez(_: web.Request) -> web.Response:
        return _answer("alive", _reasons(runtime, "pipeline_stalled"))

    async def readyz(_: web.Request) -> web.Response:
        return _answer("ready", _reasons(runtime), _notes(runtime))

    async def metrics(_: web.Request) -> web.Response:
        await poller.take()
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]


def _reasons(runtime: Runtime, *only: str) -> list[dict[str, Any]]:
    return [
        {"reason": reason.name, "for": round(reason.for_s, 3), "detail": reason.detail}
        for reason in runtime.health.reasons()
        if not only or reason.name in only
    ]


def _notes(runtime: Runtime) -> dict[str, Any]:
    """Describe what operators should know although it does not prevent serving."""
    found = runtime.outstanding.describe()
    notes = [("not_confirmed", *found)] if found is not None else []
    notes += [(note.name, note.for_s, note.detail) for note in runtime.health.notes()]
    return {"notes": [{"note": name, "for": round(for_s, 3), "detail": detail} for name, for_s, detail in notes]}


def _answer(what: str, reasons: list[dict[str, Any]], further: dict[str, Any] | None = None) -> web.Response:
    body = json.dumps({what: not reasons, "reasons": reasons, **(further or {})}) + "\n"
    return web.Response(text=body, status=_UNAVAILABLE if reasons else _OK, content_type="application/json")
