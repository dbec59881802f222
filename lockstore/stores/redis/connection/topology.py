"""The interface of a Redis deployment: its primaries, and which of them has a key."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

__all__ = ["PATIENCE_S", "Command", "LineBatch", "Node", "Topology"]

Command = tuple[Any, ...]
"""One Redis command with its arguments."""

PATIENCE_S = 1.0
"""How long to wait for a reply on a connection that was idle before opening a new one."""

_IDLE_S = 0.5  # connections idle for longer are checked with a PING before use


@dataclass(eq=False, slots=True)
class Node:
    """A primary, and the connections to it.

    Connections used by batches are kept here instead of being returned to redis-py's pool, whose bookkeeping accounts
    for a large part of a batch's cost. The pool considers them in use, so it still closes them with all others.
    """

    name: str
    client: redis.Redis
    _at_hand: list[tuple[AbstractConnection, float]] = field(default_factory=list)
    _idle_since_s: dict[AbstractConnection, float] = field(default_factory=dict)

    def take(self) -> AbstractConnection:
        """Return a free connection, which may not be connected yet."""
        if self._at_hand:
            connection, since_s = self._at_hand.pop()
            self._idle_since_s[connection] = since_s
            return connection
        return cast("AbstractConnection", self.client.connection_pool.get_available_connection())  # type: ignore[no-untyped-call]

    async def ensure(self, connection: AbstractConnection, patience_s: float = PATIENCE_S) -> None:
        """Connect if necessary, to a server that replies within `patience_s`, without unread data.

        Redis closes idle connections (`timeout`, CLIENT KILL, a restart), and so do proxies, some silently. Commands
        sent on such a connection may be lost, so it is detected before anything is sent.
        """
        idle_since_s = self._idle_since_s.pop(connection, None)
        if connection.is_connected and not await _is_spoilt(connection):
            if idle_since_s is not None and time.monotonic() - idle_since_s < _IDLE_S:
                return
            if await _answers(connection, patience_s):
                return
            await self._drop_idle()  # the connections that were idle for longer are probably dead as well
        await connection.disconnect(nowait=True)
        await connection.connect()  # type: ignore[no-untyped-call]

    async def give_back(self, connection: AbstractConnection) -> None:
        """Keep a working connection for the next batch."""
        self._idle_since_s.pop(connection, None)
        if connection.is_connected and not connection.should_reconnect():  # type: ignore[no-untyped-call]
            self._at_hand.append((connection, time.monotonic()))
        else:
            await self.client.connection_pool.release(connection)

    async def fresh_client(self) -> redis.Redis:
        """Return its client for infrequent commands, on a new connection because an idle one may be dead."""
        await self.client.connection_pool.disconnect(inuse_connections=False)
        return self.client

    async def disconnect_all(self) -> None:
        """Close all connections; those in use are closed when they are returned."""
        await self._drop_idle()
        await self.client.connection_pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]

    async def _drop_idle(self) -> None:
        pool = self.client.connection_pool
        at_hand, self._at_hand = self._at_hand, []
        for connection, _ in at_hand:
            await connection.disconnect(nowait=True)  # closed before the pool gets it, so that its next user reconnects
            await pool.release(connection)
        await pool.disconnect(inuse_connections=False)


async def _answers(connection: AbstractConnection, patience_s: float) -> bool:
    try:
        async with asyncio.timeout(patience_s):
            await connection.send_command("PING", check_health=False)
            await connection.read_response()
    except ResponseError:
        return True  # an error is a reply, too
    except (RedisError, OSError, TimeoutError):
        return False
    return True


async def _is_spoilt(connection: AbstractConnection) -> bool:
    """Return whether the other end has closed the connection, or unread data is on it."""
    writer = connection._writer  # noqa: SLF001 - redis-py does not detect a reset
    try:
        return writer is None or writer.is_closing() or await connection.can_read()
    except RedisError:
        return True


@dataclass(eq=False, slots=True)
class LineBatch:
    """The commands on one line: they take effect in order, or not at all."""

    key: str  # any of its keys: all are on one server
    commands: list[Command] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # of their replies, among those of the whole batch
    writes: bool = True
    repeatable: bool = True  # whether it may be repeated if its outcome is unknown
    asking: Node | None = None  # where a slot is being moved to: the next attempt goes there


class Topology(Protocol):
    """A single server, a primary found through sentinels, or a cluster."""

    watches: bool
    """Whether `is_gone` can detect a failover that the connection itself does not show."""

    async def prepare(self) -> None:
        """Determine the layout if it is unknown. Raises one of CONNECTION_ERRORS."""

    def split(self, parts: list[LineBatch]) -> list[tuple[Node, list[LineBatch]]]:
        """Group the parts by server. Raises one of CONNECTION_ERRORS."""

    async def redirect(self, part: LineBatch, error: ResponseError) -> None:
        """Process a redirection of a part to another server, or a request to try again."""

    def doubt(self, node: Node | None = None) -> None:
        """Make `prepare` determine the layout again, after this server was lost or refused writes."""

    async def is_gone(self, node: Node, connection: AbstractConnection) -> bool:
        """Ask other servers whether the one at the end of an unresponsive connection has been replaced."""

    async def nodes(self) -> Sequence[Node]:
        """Return all primaries, each of which has a part of the keys."""

    async def close(self) -> None:
        """Close all connections."""
