"""The places of the page and of the API."""

from aiohttp import web
from aiohttp.web_routedef import AbstractRouteDef

from daemon.http.status_page.api import Api
from daemon.http.status_page.pages import Pages
from daemon.http.status_page.reader import StatusReader
from daemon.http.status_page.rendering import Renderer
from daemon.serving.runtime import Runtime

__all__ = ["routes", "routes_of"]


def routes(parts: Runtime) -> list[AbstractRouteDef]:
    """Give the routes of one daemon."""
    viewer = StatusReader(parts.settings, parts.store.store, parts.peers, parts.health)
    return routes_of(viewer, parts.settings.broker.namespace, parts.identity.host)


def routes_of(viewer: StatusReader, namespace: str, host: str) -> list[AbstractRouteDef]:
    """Give the routes of what a viewer sees; the namespace and the host stand at the top of each page."""
    handlers = Pages(viewer, Renderer(namespace, host)).handlers() | Api(viewer).handlers()
    return [web.get(place, handler) for place, handler in handlers.items()]
