"""A Redis Cluster: which node has which slot, learnt from the nodes and from their redirections."""

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

_PATIENCE_S = 2.0  # for one node that is asked for the layout; then the next is asked
_UNKNOWN = (None, b"", "", b"?", "?")  # where CLUSTER SLOTS has no host
_PRIMARY = "primary"  # redis-py's word


class Cluster:
    """The primaries of a cluster. redis-py keeps the layout; the connections for our batches are our own."""

    watches = True

    def __init__(self, dialing: ConnectionFactory) -> None:
        self._dialing = dialing
        self._arguments = _node_arguments(dialing)
        nodes = [ClusterNode(node.host, node.port, **self._arguments) for node in dialing.options.nodes]
        self._layout = NodesManager(nodes, require_full_coverage=False, connection_kwargs=self._arguments)
        self._places: dict[str, Node] = {}
        self._known = False
        self._suspect: str | None = None

    async def prepare(self) -> None:
        """Ask for the layout, if it is not known or no longer trusted."""
        if self._known:
            return
        await self._ask(self._suspect)
        self._known = True
        for name in self._places.keys() - self._layout.nodes_cache.keys():
            if (place := self._places.pop(name, None)) is not None:
                await place.client.aclose()

    async def _ask(self, last: str | None) -> None:
        """Ask the nodes for the layout, `last` after all others; on new connections, because old ones may have been cut off."""
        asked = [_Node(node.host, node.port, **self._arguments) for node in self._layout.startup_nodes.values()]
        self._layout.startup_nodes = {node.name: node for node in asked}
        try:
            await self._layout.initialize(last_failed_node_name=last)
        finally:
            for node in asked:
                await node.disconnect()

    def split(self, parts: list[LineBatch]) -> list[tuple[Node, list[LineBatch]]]:
        """Sort the parts by the nodes that have their slots."""
        shares: dict[Node, list[LineBatch]] = {}
        for part in parts:
            place = part.asking or self._place_of(key_slot(part.key.encode()))
            shares.setdefault(place, []).append(part)
        return list(shares.items())

    def _place_of(self, slot: int) -> Node:
        nodes = self._layout.slots_cache.get(slot)
        if not nodes:
            raise ClusterDownError(f"no node has slot {slot}")
        return self._place_at(nodes[0])

    def _place_at(self, node: ClusterNode) -> Node:
        place = self._places.get(node.name)
        if place is None:
            client = redis.Redis(host=node.host, port=int(node.port), **self._dialing.to_servers())
            place = self._places[node.name] = Node(node.name, client)
        return place

    async def redirect(self, part: LineBatch, error: ResponseError) -> None:
        """Follow a slot that has moved, or is being moved."""
        part.asking = None
        if isinstance(error, TryAgainError):
            return
        if not isinstance(error, AskError):
            raise error
        if error.host in _UNKNOWN and not isinstance(error, MovedError):
            error.host = self._layout.slots_cache[error.slot_id][0].host  # it means its own
        if error.host in _UNKNOWN or error.slot_id not in self._layout.slots_cache:
            self.doubt()  # the node does not say its own name, or the layout has holes
        elif isinstance(error, MovedError):  # redis-py's MovedError is an AskError
            await self._layout.move_slot(error)
        elif (node := self._layout.nodes_cache.get(get_node_name(error.host, error.port))) is not None:
            part.asking = self._place_at(node)
        else:
            self.doubt()  # it joined after we asked

    def doubt(self, place: Node | None = None) -> None:
        """Have the layout asked for anew, of this node last."""
        self._known = False
        self._suspect = place.name if place is not None else None

    async def is_gone(self, place: Node, connection: AbstractConnection) -> bool:  # noqa: ARG002 - a place is a node
        """Ask the other nodes whether this one is still a primary."""
        try:
            await self._ask(place.name)
        except CONNECTION_ERRORS:
            return False  # they don't know either, for now
        node = self._layout.nodes_cache.get(place.name)
        return node is None or node.server_type != _PRIMARY

    async def places(self) -> Sequence[Node]:
        """Give all primaries that have slots."""
        await self.prepare()
        owners = {nodes[0].name: nodes[0] for nodes in self._layout.slots_cache.values() if nodes}
        return [self._place_at(node) for node in owners.values()]

    async def close(self) -> None:
        """Let go of all connections."""
        for place in self._places.values():
            await place.client.aclose()
        for held in ("nodes_cache", "startup_nodes"):
            await self._layout.aclose(held)


class _Node(ClusterNode):
    """redis-py's, that tells its own host where it does not know, or does not say, what it is called.

    In CLUSTER SLOTS that is null or empty (`cluster-preferred-endpoint-type unknown-endpoint`), or "?".
    """

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; in the reply to CLUSTER SLOTS, put in the host that was asked."""
        reply = await super().execute_command(*args, **kwargs)
        if args[0] == "CLUSTER SLOTS":
            for _, _, *nodes in reply:
                for node in nodes:
                    node[0] = self.host if node[0] in _UNKNOWN else node[0]
        return reply


def _node_arguments(dialing: ConnectionFactory) -> dict[str, Any]:
    """Turn the arguments of a client into those of a node, for which a class says whether it speaks TLS."""
    arguments = dialing.to_nodes(_PATIENCE_S)
    if arguments.pop("ssl", False):
        arguments["connection_class"] = SSLConnection
    return arguments
