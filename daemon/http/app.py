"""The site: which pages there are, and what holds for all of them."""

from collections.abc import Iterable
from ipaddress import ip_address

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_routedef import AbstractRouteDef

from daemon.http import probes as views
from daemon.http.poller import StorePoller
from daemon.http.status_page import routes as page
from daemon.serving.runtime import Runtime

__all__ = ["application", "create_app"]

_METHODS = (hdrs.METH_GET, hdrs.METH_HEAD)

HEADERS = {
    # Nothing is run, framed or loaded: a page that needs its own style and script says so itself.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # what is true now is not true later
}
"""What every answer carries, unless it says otherwise."""

_log = structlog.get_logger()


def create_app(runtime: Runtime, poller: StorePoller, host: str) -> web.Application:
    """Put the site of a daemon together, for a server that listens on `host`. Further pages are added here."""
    return application(host, [*views.routes(runtime, poller), *page.routes(runtime, poller)])


def application(host: str, routes: Iterable[AbstractRouteDef]) -> web.Application:
    """Make an application of some routes, for a server that listens on `host`. Only GET and HEAD get to them."""
    app = web.Application(middlewares=[_failing, _reading, _addressed(host)])
    app.add_routes(routes)
    app.on_response_prepare.append(_guard)
    return app


async def _guard(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def _failing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer an error of ours with no more than that there was one; our log has it."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, a page's error is not the daemon's end
        _log.error("http.failed", path=request.path, exc_info=True)
        raise web.HTTPInternalServerError from None


@web.middleware
async def _reading(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method not in _METHODS:
        raise web.HTTPMethodNotAllowed(request.method, _METHODS)
    return await handler(request)


def _addressed(host: str) -> Middleware:
    """On a loopback address, answer only who asks for this machine.

    Else any page of the internet, open in a browser on this machine, could have its own name lead here and read along.
    """
    is_private = _is_loopback(host)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_private and not _is_this_machine(request.url.host or "", host):
            raise web.HTTPMisdirectedRequest(
                text="421: daemon.http is a loopback address; ask by localhost or address\n"
            )
        return await handler(request)

    return check


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_this_machine(name: str, host: str) -> bool:
    if name in {host, "localhost"} or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
