"""The places of the page and of the API."""

from aiohttp import web
from aiohttp.web_routedef import AbstractRouteDef

from daemon.http.poller import StorePoller
from daemon.http.status_page.api import Api
from daemon.http.status_page.pages import Pages
from daemon.http.status_page.reader import StatusReader
from daemon.http.status_page.rendering import Renderer
from daemon.serving.runtime import Runtime

__all__ = ["routes", "routes_of"]


def routes(runtime: Runtime, poller: StorePoller) -> list[AbstractRouteDef]:
    """Return the routes of one daemon."""
    status_reader = StatusReader(runtime.settings, runtime.store.store, runtime.peers, runtime.health, poller)
    return routes_of(status_reader, runtime.settings.broker.namespace, runtime.identity.host)


def routes_of(status_reader: StatusReader, namespace: str, host: str) -> list[AbstractRouteDef]:
    """Return the routes of the pages and the API; each page shows the namespace and the host at its top."""
    handlers = Pages(status_reader, Renderer(namespace, host)).handlers() | Api(status_reader).handlers()
    return [web.get(place, handler) for place, handler in handlers.items()]
