"""The HTTP server: one address, a bounded number of connections, requests of bounded size."""

import asyncio
import errno
import logging
import os
import socket
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web, web_response

from daemon.http.connections import ConnectionLimits, Connections
from lockstore.errors import ConfigError

__all__ = ["HttpServer"]

_LINE_MOST = 4096  # bytes; the longest path has a conversation id of 200 bytes, three characters for each when quoted
_HEADERS_MOST = 64
_BACKLOG = 64  # fewer than there may be connections: none that is new is closed before it could be read
_AIOHTTP_KEEP_ALIVE_S = 86_400.0  # our own limits come before
_GOODBYE_S = 0.3  # for answers under way when the daemon stops
_LOOK_S = 1.0

_log = structlog.get_logger()
_unread = logging.getLogger("lockstore.http")  # aiohttp's: what strangers send here is no error of this daemon's
_unread.addHandler(logging.NullHandler())
_unread.propagate = False

# aiohttp answers what is no HTTP at all by itself, past every hook of ours, and tells its version and Python's there.
web_response.SERVER_SOFTWARE = "lockstore"  # type: ignore[attr-defined]


class HttpServer:
    """Listens as long as its context lasts."""

    def __init__(self, host: str, port: int, app: web.Application, limits: ConnectionLimits | None = None) -> None:
        """`port` 0: a free one. The application belongs to this server from now on."""
        self._place = (host, port)
        self.connections = Connections(limits or ConnectionLimits())
        app.middlewares.insert(0, self.connections.middleware)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_unread,
            keepalive_timeout=_AIOHTTP_KEEP_ALIVE_S,
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
            self._server = await loop.create_server(self._connection, host, port, backlog=_BACKLOG)
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
        assert server is not None  # noqa: S101 - it was set up before anything listens
        return self.connections.accept(server)


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
