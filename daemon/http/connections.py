"""The open connections of the HTTP server: time limits for each, and a bound on their number that never keeps a newcomer out."""

import asyncio
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

__all__ = ["Connection", "ConnectionLimits", "Connections"]

_NEXT_S = 0.1  # within which aiohttp begins with a request that has arrived


class ConnectionLimits:
    """How long a connection may take, in seconds, and how many there may be."""

    most = 200  # a monitor and some browsers need a dozen; a flood must not take the daemon's file descriptors
    request_s = 10.0  # from the connection, or the first byte of a further request, to the end of the request's headers
    answer_s = 30.0  # from there until the client has taken the answer
    idle_s = 60.0  # between two requests


class Connections:
    """All connections of one server. When there are too many, the one that has waited longest for its request is closed."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.evicted = 0
        """Connections that were closed to make room for others."""
        self.expired = 0
        """Connections that were closed because they took too long."""
        self._open: dict[asyncio.Protocol, Connection] = {}  # by aiohttp's protocol, the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def accept(self, make_protocol: Callable[[], asyncio.Protocol]) -> "Connection":
        """Make the protocol of one more connection, and make room for it."""
        while len(self._open) >= self.limits.most:
            self.evicted += 1
            min(self._open.values(), key=Connection.precedence).abort()
        protocol = make_protocol()
        self._open[protocol] = connection = Connection(self, protocol)
        return connection

    def forget(self, protocol: asyncio.Protocol) -> None:
        """Drop a connection that is closed, or is about to be."""
        self._open.pop(protocol, None)

    @property
    def middleware(self) -> Middleware:
        """Write the answer within the time limit. To be the outermost middleware."""

        @web.middleware
        async def answer_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = self._open.get(request.protocol)
            if connection is None:  # closed meanwhile; whoever asked does not wait any more
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
    """One connection: passes everything on to aiohttp's protocol, and watches the time."""

    def __init__(self, connections: Connections, protocol: asyncio.Protocol) -> None:
        self._connections = connections
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._since = self._loop.time()  # when it began to wait for a request, or to answer one
        self._is_answering = False
        self._is_reading = True  # a request has begun, or the connection is new
        self._is_half_closed = False
        self._is_aborted = False
        self._timer: asyncio.TimerHandle | None = None

    def precedence(self) -> tuple[bool, float]:
        """Tell which of several connections is to be closed first: one that waits for a request, then the longest."""
        return self._is_answering, self._since

    def abort(self) -> None:
        """Close it at once, whatever has not been sent yet."""
        self._is_aborted = True
        self._connections.forget(self._protocol)
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def begin_answer(self) -> None:
        """Note that a whole request has arrived."""
        self._is_answering, self._is_reading, self._since = True, False, self._loop.time()
        self._start_timer(self._connections.limits.answer_s)

    def end_answer(self) -> None:
        """Note that its answer was written."""
        self._is_answering, self._since = False, self._loop.time()
        self._start_timer(self._connections.limits.idle_s)
        if self._is_half_closed:
            self._loop.call_later(_NEXT_S, self._close_unless_answering)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit of the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._protocol.connection_made(transport)
        self._start_timer(self._connections.limits.request_s)
        if self._is_aborted:  # to make room, before it was there
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._connections.forget(self._protocol)
        self._stop_timer()
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the time limit of a further request with its first byte."""
        if not self._is_answering and not self._is_reading:
            self._is_reading = True
            self._start_timer(self._connections.limits.request_s)
        self._protocol.data_received(data)

    def eof_received(self) -> bool:
        """Answer what was asked for before the client shut down its side, as `nc` and some probes do."""
        self._is_half_closed = True
        self._protocol.eof_received()
        self._loop.call_later(_NEXT_S, self._close_unless_answering)
        return True

    def pause_writing(self) -> None:
        """Pass it on."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
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
