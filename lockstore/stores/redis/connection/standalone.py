"""One Redis server, by host and port or by URL."""

from collections.abc import Sequence

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from lockstore.errors import ConfigError
from lockstore.stores.redis.connection.connect import ConnectionFactory
from lockstore.stores.redis.connection.topology import LineBatch, Node

__all__ = ["SingleNode", "Standalone"]


class SingleNode:
    """What is the same wherever one server has all keys."""

    watches = False

    def __init__(self, place: Node) -> None:
        self._place = place
        self._doubtful = False

    async def prepare(self) -> None:
        """Let go of connections if the server may be another by now: its name is looked up anew, then."""
        if self._doubtful:
            self._doubtful = False
            await self._place.let_go()

    def split(self, parts: list[LineBatch]) -> list[tuple[Node, list[LineBatch]]]:
        """Everything is at the one place."""
        return [(self._place, parts)]

    async def redirect(self, part: LineBatch, error: ResponseError) -> None:  # noqa: ARG002 - there is nowhere else
        """Raise it: the server is a cluster's node, and the options say otherwise."""
        raise error

    def doubt(self, place: Node | None = None) -> None:  # noqa: ARG002 - there is one
        """Have the next call make new connections."""
        self._doubtful = True

    async def is_gone(self, place: Node, connection: AbstractConnection) -> bool:  # noqa: ARG002 - nobody to ask
        """Nobody knows."""
        return False

    async def places(self) -> Sequence[Node]:
        """Give the one place."""
        return [self._place]

    async def close(self) -> None:
        """Let go of all connections."""
        await self._place.client.aclose()


class Standalone(SingleNode):
    """One server that is always the same."""

    def __init__(self, dialing: ConnectionFactory) -> None:
        super().__init__(Node("server", _client(dialing)))


def _client(dialing: ConnectionFactory) -> redis.Redis:
    options, common = dialing.options, dialing.to_servers()
    if not options.is_url(options.place):
        [node] = options.nodes
        return redis.Redis(host=node.host, port=node.port, db=options.database, **common)
    if options.db_of_url is None:
        common["db"] = options.database
    common.pop("ssl", None)  # the URL's scheme says it
    try:
        return redis.Redis.from_url(options.place, **common)
    except ValueError as error:
        raise ConfigError(f"lock_store.host: not a Redis URL: {error}") from None
