"""The HTTP server: one address, a bounded number of connections, requests of bounded size."""

import asyncio
import errno
import logging
import os
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog
from aiohttp import web, web_response

from lockstore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware
    from aiohttp.web_protocol import RequestHandler

__all__ = ["HttpServer"]

_CONNECTIONS_MOST = 100  # a monitor and some browsers need a dozen; a flood must not take the daemon's file descriptors
_LINE_MOST = 4096  # bytes; the longest path has a conversation id of 200 bytes, three characters for each when quoted
_HEADERS_MOST = 64
_KEEP_ALIVE_S = 60.0
_SILENT_S = 10.0  # a connection that has asked nothing by then only takes up room
_GOODBYE_S = 1.0  # for answers under way when the daemon stops
_LOOK_S = 1.0

_log = structlog.get_logger()
_unread = logging.getLogger("lockstore.http")  # aiohttp's: what strangers send here is no error of this daemon's
_unread.addHandler(logging.NullHandler())
_unread.propagate = False

# aiohttp answers what is no HTTP at all by itself, past every hook of ours, and tells its version and Python's there.
web_response.SERVER_SOFTWARE = "lockstore"  # type: ignore[attr-defined]


class _Refusal(asyncio.Protocol):
    """What one connection too many gets: its end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class HttpServer:
    """Listens as long as its context lasts."""

    def __init__(self, host: str, port: int, app: web.Application) -> None:
        """Take an address (port 0: a free one) and what to serve there; the application is this server's from now on."""
        self._place = (host, port)
        self._silent: set[RequestHandler] = set()  # the connections that have asked nothing yet
        app.middlewares.insert(0, _noting(self._silent.discard))
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_unread,
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=0,  # nobody reads a request's body
            max_line_size=_LINE_MOST,
            max_headers=_HEADERS_MOST,
            shutdown_timeout=_GOODBYE_S,
        )

    async def __aenter__(self) -> Self:
        """Listen. Raises ConfigError where that cannot be."""
        host, port = self._place
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._connection, host, port)
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(_told(host, port, error)) from None
        _log.info("http.listening", url=self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it is reached on this machine."""
        host, port, *_ = self._server.sockets[0].getsockname()
        return f"http://{_bracketed(host)}:{port}/"

    async def run(self) -> None:
        """Last until cancelled. Raises RuntimeError when nothing listens any more."""
        while self._server.is_serving():  # noqa: ASYNC110 - no event tells of its end
            await asyncio.sleep(_LOOK_S)
        raise RuntimeError("the HTTP server does not listen any more")

    def _connection(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= _CONNECTIONS_MOST:
            return _Refusal()
        handler = server()
        self._silent.add(handler)
        asyncio.get_running_loop().call_later(_SILENT_S, self._end_if_silent, handler)
        return handler

    def _end_if_silent(self, handler: "RequestHandler") -> None:
        if handler in self._silent:
            self._silent.discard(handler)
            handler.force_close()


def _noting(heard: "Callable[[RequestHandler], None]") -> "Middleware":
    """Tell which connections have asked something."""

    @web.middleware
    async def note(request: web.Request, handler: "Handler") -> web.StreamResponse:
        heard(request.protocol)
        return await handler(request)

    return note


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _told(host: str, port: int, error: OSError) -> str:
    place = f"{_bracketed(host)}:{port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"daemon.http: {place} is taken by another process; give each daemon on a host an address of its own, "
            "or null for none"
        )
    reason = "no such host" if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return f"daemon.http: cannot listen on {place}: {reason}"
