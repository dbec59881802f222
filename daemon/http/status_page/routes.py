"""The places of the page and of the API."""

from aiohttp import web
from aiohttp.web_routedef import AbstractRouteDef

from daemon.http.status_page.api import Api
from daemon.http.status_page.pages import Pages
from daemon.http.status_page.rendering import Renderer
from daemon.http.status_page.reader import Viewer
from daemon.serving.runtime import Parts

__all__ = ["routes", "routes_of"]


def routes(parts: Parts) -> list[AbstractRouteDef]:
    """Give the routes of one daemon."""
    viewer = Viewer(parts.settings, parts.keeper.store, parts.fleet, parts.health)
    return routes_of(viewer, parts.settings.broker.namespace, parts.me.host)


def routes_of(viewer: Viewer, namespace: str, host: str) -> list[AbstractRouteDef]:
    """Give the routes of what a viewer sees; the namespace and the host stand at the top of each page."""
    handlers = Pages(viewer, Renderer(namespace, host)).handlers() | Api(viewer).handlers()
    return [web.get(place, handler) for place, handler in handlers.items()]
