"""What a deployment of Redis is to the stores: places that take writes, and which place a key is at."""

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
"""One command of Redis, as its words."""

PATIENCE_S = 1.0
"""How long an answer is waited for on a connection that was idle; then a new one is made."""

_IDLE_S = 0.5  # a connection that was not used for so long is asked whether the server still answers on it


@dataclass(eq=False, slots=True)
class Node:
    """One server that takes writes, and the connections to it.

    Those that batches have used stay at hand here instead of going back to redis-py's pool, whose bookkeeping is a good
    part of what a batch costs. The pool takes them for being in use, so it still closes them, or has them closed, with all.
    """

    name: str
    client: redis.Redis
    _at_hand: list[tuple[AbstractConnection, float]] = field(default_factory=list)
    _idle_since_s: dict[AbstractConnection, float] = field(default_factory=dict)

    def take(self) -> AbstractConnection:
        """Give a connection that nobody uses; it may not be connected yet."""
        if self._at_hand:
            connection, since_s = self._at_hand.pop()
            self._idle_since_s[connection] = since_s
            return connection
        return cast("AbstractConnection", self.client.connection_pool.get_available_connection())  # type: ignore[no-untyped-call]

    async def ensure(self, connection: AbstractConnection, patience_s: float = PATIENCE_S) -> None:
        """Have it connected to a server that answers within `patience_s`, with nothing unread in it.

        Redis closes idle connections (`timeout`, CLIENT KILL, a restart), and so do proxies, some without a word. What is
        sent on such a connection is lost, or may be; so this is found out before anything is sent.
        """
        idle_since_s = self._idle_since_s.pop(connection, None)
        if connection.is_connected and not await _is_spoilt(connection):
            if idle_since_s is not None and time.monotonic() - idle_since_s < _IDLE_S:
                return
            if await _answers(connection, patience_s):
                return
            await self._drop_idle()  # whatever cut this one off has cut off those that were idle for longer
        await connection.disconnect(nowait=True)
        await connection.connect()  # type: ignore[no-untyped-call]

    async def give_back(self, connection: AbstractConnection) -> None:
        """Keep a connection for the next batch, if it is good."""
        self._idle_since_s.pop(connection, None)
        if connection.is_connected and not connection.should_reconnect():  # type: ignore[no-untyped-call]
            self._at_hand.append((connection, time.monotonic()))
        else:
            await self.client.connection_pool.release(connection)

    async def fresh_client(self) -> redis.Redis:
        """Give its client for what is seldom asked: on a new connection, because an old one may have been cut off."""
        await self.client.connection_pool.disconnect(inuse_connections=False)
        return self.client

    async def let_go(self) -> None:
        """Close all connections: those in use when they are given back."""
        await self._drop_idle()
        await self.client.connection_pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]

    async def _drop_idle(self) -> None:
        pool = self.client.connection_pool
        at_hand, self._at_hand = self._at_hand, []
        for connection, _ in at_hand:
            await connection.disconnect(nowait=True)  # before it is the pool's: whoever takes it makes a new one of it
            await pool.release(connection)
        await pool.disconnect(inuse_connections=False)


async def _answers(connection: AbstractConnection, patience_s: float) -> bool:
    try:
        async with asyncio.timeout(patience_s):
            await connection.send_command("PING", check_health=False)
            await connection.read_response()
    except ResponseError:
        return True  # an answer, too
    except (RedisError, OSError, TimeoutError):
        return False
    return True


async def _is_spoilt(connection: AbstractConnection) -> bool:
    """Tell whether the other end has closed it, or something unread is in it."""
    writer = connection._writer  # noqa: SLF001 - redis-py overlooks a reset
    try:
        return writer is None or writer.is_closing() or await connection.can_read()
    except RedisError:
        return True


@dataclass(eq=False, slots=True)
class LineBatch:
    """What is done to one line: its commands take effect in their order, or none of them does."""

    key: str  # any of its keys: they are at one place
    commands: list[Command] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # of their replies, among those of the whole batch
    writes: bool = True
    repeatable: bool = True  # whether it may be done again where nobody knows whether it was done
    asking: Node | None = None  # where a slot that is being moved is going to: the next try goes there


class Topology(Protocol):
    """One server, a primary that sentinels know, or a cluster."""

    watches: bool
    """Whether `is_gone` can know better than a connection that does not answer."""

    async def prepare(self) -> None:
        """Find out where things are, if that is not known. Raises one of `faults.LOST`."""

    def split(self, parts: list[LineBatch]) -> list[tuple[Node, list[LineBatch]]]:
        """Tell at which place each part is to be done. Raises one of `faults.LOST`."""

    async def redirect(self, part: LineBatch, error: ResponseError) -> None:
        """Learn from an answer that said that a part belongs elsewhere, or should be tried again."""

    def doubt(self, place: Node | None = None) -> None:
        """Have `prepare` find out anew where things are: this server was lost, or did not take writes."""

    async def is_gone(self, place: Node, connection: AbstractConnection) -> bool:
        """Ask others whether the server at the end of a silent connection has been replaced."""

    async def places(self) -> Sequence[Node]:
        """Give all places that take writes, each of which has a part of the keys."""

    async def close(self) -> None:
        """Let go of all connections."""
