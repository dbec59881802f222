"""What a deployment of Redis is to the stores: places that take writes, and which place a key is at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

__all__ = ["Command", "Deployment", "Part", "Place"]

Command = tuple[Any, ...]
"""One command of Redis, as its words."""


@dataclass(eq=False, slots=True)
class Place:
    """One server that takes writes, and the connections to it.

    Those that batches have used stay at hand here instead of going back to redis-py's pool, whose bookkeeping is a good
    part of what a batch costs. The pool takes them for being in use, so it still closes them, or has them closed, with all.
    """

    name: str
    client: redis.Redis
    _at_hand: list[AbstractConnection] = field(default_factory=list)

    def take(self) -> AbstractConnection:
        """Give a connection that nobody uses; it may not be connected yet."""
        if self._at_hand:
            return self._at_hand.pop()
        return cast("AbstractConnection", self.client.connection_pool.get_available_connection())  # type: ignore[no-untyped-call]

    async def ensure(self, connection: AbstractConnection) -> None:
        """Have it connected, with nothing unread in it."""
        if not connection.is_connected or await connection.can_read():
            await self.client.connection_pool.ensure_connection(connection)

    async def give_back(self, connection: AbstractConnection) -> None:
        """Keep a connection for the next batch, if it is good."""
        if connection.is_connected and not connection.should_reconnect():  # type: ignore[no-untyped-call]
            self._at_hand.append(connection)
        else:
            await self.client.connection_pool.release(connection)

    async def let_go(self) -> None:
        """Close all connections: those in use when they are given back."""
        pool = self.client.connection_pool
        at_hand, self._at_hand = self._at_hand, []
        for connection in at_hand:
            await connection.disconnect()  # before it is the pool's: whoever takes it from there makes a new one of it
            await pool.release(connection)
        await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]  # when given back
        await pool.disconnect(inuse_connections=False)


@dataclass(eq=False, slots=True)
class Part:
    """What is done to one line: its commands take effect in their order, or none of them does."""

    key: str  # any of its keys: they are at one place
    commands: list[Command] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # of their replies, among those of the whole batch
    writes: bool = True
    asking: Place | None = None  # where a slot that is being moved is going to: the next try goes there


class Deployment(Protocol):
    """One server, a primary that sentinels know, or a cluster."""

    watches: bool
    """Whether `is_gone` can know better than a connection that does not answer."""

    async def prepare(self) -> None:
        """Find out where things are, if that is not known. Raises one of `faults.LOST`."""

    def split(self, parts: list[Part]) -> list[tuple[Place, list[Part]]]:
        """Tell at which place each part is to be done. Raises one of `faults.LOST`."""

    async def redirect(self, part: Part, error: ResponseError) -> None:
        """Learn from an answer that said that a part belongs elsewhere, or should be tried again."""

    def doubt(self, place: Place | None = None) -> None:
        """Have `prepare` find out anew where things are: this server was lost, or did not take writes."""

    async def is_gone(self, place: Place, connection: AbstractConnection) -> bool:
        """Ask others whether the server at the end of a silent connection has been replaced."""

    async def places(self) -> Sequence[Place]:
        """Give all places that take writes, each of which has a part of the keys."""

    async def close(self) -> None:
        """Let go of all connections."""
