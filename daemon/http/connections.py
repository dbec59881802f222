"""The HTTP server's open connections: timeouts, and a limit on their number that never rejects a new one."""

import asyncio
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

__all__ = ["Connection", "ConnectionLimits", "Connections"]

_NEXT_S = 0.1  # how soon aiohttp starts processing a request that has arrived


class ConnectionLimits:
    """Timeouts of a connection, in seconds, and the maximum number of connections."""

    most = 200  # a monitor and some browsers need a dozen; a flood must not exhaust the daemon's file descriptors
    request_s = 10.0  # from the connection, or the first byte of a further request, to the end of the request's headers
    answer_s = 30.0  # from there until the client has received the response
    idle_s = 60.0  # between two requests


class Connections:
    """All connections of one server. If there are too many, the one that has waited longest for its request is closed."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.evicted = 0
        """Connections closed to make room for others."""
        self.expired = 0
        """Connections closed because they took too long."""
        self._open: dict[asyncio.Protocol, Connection] = {}  # by aiohttp's protocol, oldest first

    def __len__(self) -> int:
        return len(self._open)

    def accept(self, make_protocol: Callable[[], asyncio.Protocol]) -> "Connection":
        """Create the protocol of a new connection, making room for it if necessary."""
        while len(self._open) >= self.limits.most:
            self.evicted += 1
            min(self._open.values(), key=Connection.precedence).abort()
        protocol = make_protocol()
        self._open[protocol] = connection = Connection(self, protocol)
        return connection

    def forget(self, protocol: asyncio.Protocol) -> None:
        """Remove a connection that is closed, or about to be."""
        self._open.pop(protocol, None)

    @property
    def middleware(self) -> Middleware:
        """Return the middleware that limits the time for the response. It must be the outermost one."""

        @web.middleware
        async def answer_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = self._open.get(request.protocol)
            if connection is None:  # closed meanwhile; the client no longer waits
                raise ConnectionResetError
            connection.begin_answer()
            try:
                response = await _answer(request, handler)
                await response.prepare(request)
                await response.write_eof()
            finally:
                connection.end_answer()
            return response

        return answer_in_time


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:  # aiohttp wants it raised, and would send a copy; this one is sent here
        return web.Response(status=error.status, reason=error.reason, text=error.text, headers=error.headers)


class Connection(asyncio.Protocol):
    """One connection: forwards everything to aiohttp's protocol, and limits its time."""

    def __init__(self, connections: Connections, protocol: asyncio.Protocol) -> None:
        self._connections = connections
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._since = self._loop.time()  # when it started waiting for a request, or answering one
        self._is_answering = False
        self._is_reading = True  # a request has begun, or the connection is new
        self._is_half_closed = False
        self._is_aborted = False
        self._timer: asyncio.TimerHandle | None = None

    def precedence(self) -> tuple[bool, float]:
        """Return the key by which the connection to close is chosen: one waiting for a request first, then the longest wait."""
        return self._is_answering, self._since

    def abort(self) -> None:
        """Close it immediately, with unsent data."""
        self._is_aborted = True
        self._connections.forget(self._protocol)
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def begin_answer(self) -> None:
        """Record that a whole request has arrived."""
        self._is_answering, self._is_reading, self._since = True, False, self._loop.time()
        self._start_timer(self._connections.limits.answer_s)

    def end_answer(self) -> None:
        """Record that the response was written."""
        self._is_answering, self._since = False, self._loop.time()
        self._start_timer(self._connections.limits.idle_s)
        if self._is_half_closed:
            self._loop.call_later(_NEXT_S, self._close_unless_answering)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timeout of the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._protocol.connection_made(transport)
        self._start_timer(self._connections.limits.request_s)
        if self._is_aborted:  # closed to make room before it was established
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove it."""
        self._connections.forget(self._protocol)
        self._stop_timer()
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the timeout of a further request at its first byte."""
        if not self._is_answering and not self._is_reading:
            self._is_reading = True
            self._start_timer(self._connections.limits.request_s)
        self._protocol.data_received(data)

    def eof_received(self) -> bool:
        """Answer requests that arrived before the client closed its sending side, as `nc` and some probes do."""
        self._is_half_closed = True
        self._protocol.eof_received()
        self._loop.call_later(_NEXT_S, self._close_unless_answering)
        return True

    def pause_writing(self) -> None:
        """Forward it."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Forward it."""
        self._protocol.resume_writing()

    def _close_unless_answering(self) -> None:
        if not self._is_answering and self._transport is not None:
            self._transport.close()

    def _start_timer(self, limit_s: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(limit_s, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._connections.expired += 1
        self.abort()
