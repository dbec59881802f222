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
    """Base of the deployments in which one server has all keys."""

    watches = False

    def __init__(self, node: Node) -> None:
        self._node = node
        self._doubtful = False

    async def prepare(self) -> None:
        """Drop all connections if the server may have changed, so that its name is resolved again."""
        if self._doubtful:
            self._doubtful = False
            await self._node.disconnect_all()

    def split(self, parts: list[LineBatch]) -> list[tuple[Node, list[LineBatch]]]:
        """Return all parts for the one server."""
        return [(self._node, parts)]

    async def redirect(self, part: LineBatch, error: ResponseError) -> None:  # noqa: ARG002 - there is no other server
        """Raise the redirection: the server is a cluster node, contrary to the options."""
        raise error

    def doubt(self, node: Node | None = None) -> None:  # noqa: ARG002 - there is one
        """Make the next call open new connections."""
        self._doubtful = True

    async def is_gone(self, node: Node, connection: AbstractConnection) -> bool:  # noqa: ARG002 - there is no one to ask
        """Return False: there is no other source of information."""
        return False

    async def nodes(self) -> Sequence[Node]:
        """Return the one server."""
        return [self._node]

    async def close(self) -> None:
        """Close all connections."""
        await self._node.client.aclose()


class Standalone(SingleNode):
    """One fixed server."""

    def __init__(self, factory: ConnectionFactory) -> None:
        super().__init__(Node("server", _client(factory)))


def _client(factory: ConnectionFactory) -> redis.Redis:
    options, common = factory.options, factory.to_servers()
    if not options.is_url(options.place):
        [node] = options.nodes
        return redis.Redis(host=node.host, port=node.port, db=options.database, **common)
    if options.db_of_url is None:
        common["db"] = options.database
    common.pop("ssl", None)  # the URL's scheme determines it
    try:
        return redis.Redis.from_url(options.place, **common)
    except ValueError as error:
        raise ConfigError(f"lock_store.host: not a Redis URL: {error}") from None
