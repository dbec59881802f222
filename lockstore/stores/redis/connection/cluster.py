"""Redis Cluster: the assignment of slots to nodes, learned from the nodes and from their redirections."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.cluster import get_node_name
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError, TryAgainError

from lockstore.stores.redis.connection.connect import ConnectionFactory
from lockstore.stores.redis.connection.errors import CONNECTION_ERRORS
from lockstore.stores.redis.connection.topology import LineBatch, Node

__all__ = ["Cluster"]

_PATIENCE_S = 2.0  # how long one node may take to return the layout before the next is queried
_UNKNOWN = (None, b"", "", b"?", "?")  # how CLUSTER SLOTS reports an unknown host
_PRIMARY = "primary"  # redis-py's name for the role


class Cluster:
    """The primaries of a cluster. redis-py maintains the layout; batches use connections of our own."""

    watches = True

    def __init__(self, factory: ConnectionFactory) -> None:
        self._factory = factory
        self._arguments = _node_arguments(factory)
        nodes = [ClusterNode(node.host, node.port, **self._arguments) for node in factory.options.nodes]
        self._layout = NodesManager(nodes, require_full_coverage=False, connection_kwargs=self._arguments)
        self._nodes: dict[str, Node] = {}
        self._known = False
        self._suspect: str | None = None

    async def prepare(self) -> None:
        """Fetch the layout if it is unknown or no longer trusted."""
        if self._known:
            return
        await self._ask(self._suspect)
        self._known = True
        for name in self._nodes.keys() - self._layout.nodes_cache.keys():
            if (node := self._nodes.pop(name, None)) is not None:
                await node.client.aclose()

    async def _ask(self, last: str | None) -> None:
        """Fetch the layout from a node, trying `last` after all others; on new connections, since old ones may be dead."""
        asked = [_Node(node.host, node.port, **self._arguments) for node in self._layout.startup_nodes.values()]
        self._layout.startup_nodes = {node.name: node for node in asked}
        try:
            await self._layout.initialize(last_failed_node_name=last)
        finally:
            for node in asked:
                await node.disconnect()

    def split(self, parts: list[LineBatch]) -> list[tuple[Node, list[LineBatch]]]:
        """Group the parts by the nodes that have their slots."""
        shares: dict[Node, list[LineBatch]] = {}
        for part in parts:
            node = part.asking or self._node_of(key_slot(part.key.encode()))
            shares.setdefault(node, []).append(part)
        return list(shares.items())

    def _node_of(self, slot: int) -> Node:
        members = self._layout.slots_cache.get(slot)
        if not members:
            raise ClusterDownError(f"no node has slot {slot}")
        return self._node_at(members[0])

    def _node_at(self, member: ClusterNode) -> Node:
        node = self._nodes.get(member.name)
        if node is None:
            client = redis.Redis(host=member.host, port=int(member.port), **self._factory.to_servers())
            node = self._nodes[member.name] = Node(member.name, client)
        return node

    async def redirect(self, part: LineBatch, error: ResponseError) -> None:
        """Follow a slot that has been moved, or is being moved."""
        part.asking = None
        if isinstance(error, TryAgainError):
            return
        if not isinstance(error, AskError):
            raise error
        if error.host in _UNKNOWN and not isinstance(error, MovedError):
            error.host = self._layout.slots_cache[error.slot_id][0].host  # an empty host means the node itself
        if error.host in _UNKNOWN or error.slot_id not in self._layout.slots_cache:
            self.doubt()  # the node does not know its own name, or the layout is incomplete
        elif isinstance(error, MovedError):  # redis-py's MovedError is an AskError
            await self._layout.move_slot(error)
        elif (member := self._layout.nodes_cache.get(get_node_name(error.host, error.port))) is not None:
            part.asking = self._node_at(member)
        else:
            self.doubt()  # it joined after we fetched the layout

    def doubt(self, node: Node | None = None) -> None:
        """Refetch the layout before the next batch, from this node last."""
        self._known = False
        self._suspect = node.name if node is not None else None

    async def is_gone(self, node: Node, connection: AbstractConnection) -> bool:  # noqa: ARG002 - the node is asked by name
        """Ask the other nodes whether this one is still a primary."""
        try:
            await self._ask(node.name)
        except CONNECTION_ERRORS:
            return False  # the others do not know either at the moment
        member = self._layout.nodes_cache.get(node.name)
        return member is None or member.server_type != _PRIMARY

    async def nodes(self) -> Sequence[Node]:
        """Return all primaries that have slots."""
        await self.prepare()
        owners = {members[0].name: members[0] for members in self._layout.slots_cache.values() if members}
        return [self._node_at(member) for member in owners.values()]

    async def close(self) -> None:
        """Close all connections."""
        for node in self._nodes.values():
            await node.client.aclose()
        for held in ("nodes_cache", "startup_nodes"):
            await self._layout.aclose(held)


class _Node(ClusterNode):
    """redis-py's node, returning its own host where CLUSTER SLOTS reports an unknown one.

    There it is null or empty (`cluster-preferred-endpoint-type unknown-endpoint`), or "?".
    """

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; in the reply to CLUSTER SLOTS, fill in the host that was queried."""
        reply = await super().execute_command(*args, **kwargs)
        if args[0] == "CLUSTER SLOTS":
            for _, _, *nodes in reply:
                for node in nodes:
                    node[0] = self.host if node[0] in _UNKNOWN else node[0]
        return reply


def _node_arguments(factory: ConnectionFactory) -> dict[str, Any]:
    """Convert the arguments of a client to those of a node, where a class selects TLS."""
    arguments = factory.to_nodes(_PATIENCE_S)
    if arguments.pop("ssl", False):
        arguments["connection_class"] = SSLConnection
    return arguments
