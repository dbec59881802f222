"""A private Redis Cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic

from harness.ports import LOOPBACK
from harness.redis_group import REPLICATION_OPTIONS, RedisGroup, awake, out_of_sync, start_all
from harness.redis_server import Persistence, RedisServer

SLOTS = 16_384
KEYS_AT_ONCE = 100
MIGRATE_LIMIT_MS = 10_000
FAILOVER_LIMIT_S = 6.0  # a manual failover that is not done after 5 s is given up by the replica

Between = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class _View:
    """What a node says of itself and of the others (CLUSTER NODES)."""

    node: RedisServer
    id: str
    primary_id: str | None
    epoch: int
    known: frozenset[str]  # ids of all nodes, without those that have not introduced themselves yet
    owners: Mapping[str, tuple[str, ...]]  # id to ranges of slots

    def owns(self, slot: int) -> bool:
        ranges = (part.partition("-") for part in self.owners.get(self.id, ()))
        return any(int(first) <= slot <= int(last or first) for first, _, last in ranges)


class RedisCluster(RedisGroup):
    """Redis servers in cluster mode, ready when every node says `cluster_state:ok` and every replica is in sync.

    `replicas` are those of each primary: node i replicates node i modulo `primaries`. `options` are further lines of every
    node's redis.conf, as for `RedisServer`; with TLS they need `tls-cluster` and `tls-replication`, with passwords `masterauth`.
    The folder is a new one, or that of a cluster of the same shape, which then goes on.
    """

    def __init__(
        self,
        primaries: int = 3,
        replicas: int = 0,
        *,
        options: Mapping[str, str] | None = None,
        persistence: Persistence = "everysec",
        node_timeout_ms: int = 2_000,
        folder: Path | None = None,
    ) -> None:
        super().__init__("cluster", folder)
        self._primaries = primaries
        self._count = primaries * (1 + replicas)
        self._persistence: Persistence = persistence
        self._defaults = REPLICATION_OPTIONS | {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(node_timeout_ms),
        }
        self._options = dict(options or {})

    @cached_property
    def nodes(self) -> list[RedisServer]:
        """All nodes; when new, first the primaries, then their replicas."""
        return [self._node(number) for number in range(1, self._count + 1)]

    @property
    def members(self) -> list[RedisServer]:
        """The nodes."""
        return self.nodes

    @property
    def endpoints(self) -> list[str]:
        """Where clients find the nodes: `127.0.0.1:port` of each."""
        return [f"{node.host}:{node.port}" for node in self.nodes]

    async def start(self) -> None:
        """Start every node that does not run, form the cluster if they are new, and wait until all is in order.

        Raises ProcessFailedError, with the tails of the logs, if it does not get there.
        """
        await start_all(self.nodes)
        new = not any(view.owners for view in await self._views())
        if new:
            await self._give_slots()
        # In a folder that was used before, the ports are others than in nodes.conf: meeting tells them.
        await self._meet()
        if new:
            await self._until(self._strangers)
            await self._replicate()
        await self.settle()

    async def primary_of(self, slot: int) -> RedisServer:
        """Find the node that owns a slot, by the word of those that run; raises LookupError if the owner is not among them."""
        owners = [view for view in await self._views() if view.primary_id is None and view.owns(slot)]
        if not owners:
            raise LookupError(f"the owner of slot {slot} is away")
        return max(owners, key=lambda view: view.epoch).node

    async def replica_of(self, node: RedisServer) -> RedisServer:
        """Find a replica of a primary, where both run; raises LookupError if there is none."""
        views = await self._views()
        ids = [view.id for view in views if view.node is node]
        for view in views:
            if view.primary_id in ids:
                return view.node
        raise LookupError(f"no replica of {node.name} runs")

    async def move_slot(self, slot: int, to_node: RedisServer, *, between: Between | None = None) -> None:
        """Move a slot with its keys to another primary, as a live migration does.

        `between` is called while the slot is migrating: half of its keys, rounded down, have gone then. If it fails, the
        migration is still brought to its end.
        """
        views = {view.node: view for view in await self._views()}
        source, target = await self.primary_of(slot), to_node
        if source is target:
            raise ValueError(f"slot {slot} is with {target.name} already")
        await target.admin("CLUSTER", "SETSLOT", slot, "IMPORTING", views[source].id)
        await source.admin("CLUSTER", "SETSLOT", slot, "MIGRATING", views[target].id)
        await self._migrate(slot, source, target, await source.admin("CLUSTER", "COUNTKEYSINSLOT", slot) // 2)
        try:
            if between is not None:
                await between()
        finally:
            while left := await source.admin("CLUSTER", "COUNTKEYSINSLOT", slot):
                await self._migrate(slot, source, target, left)
            # The new owner first: from then on there is always one that says so.
            others = [
                view.node for view in views.values() if view.primary_id is None and view.node not in (source, target)
            ]
            for node in (target, source, *others):
                await node.admin("CLUSTER", "SETSLOT", slot, "NODE", views[target].id)

    async def failover(self, replica: RedisServer) -> None:
        """Let a replica take its primary's place, without loss (CLUSTER FAILOVER), and wait until all is in order."""
        deadline = 0.0

        async def not_promoted() -> str:
            nonlocal deadline
            if (await self._view(replica)).primary_id is None:
                return ""
            if monotonic() > deadline:
                await replica.admin("CLUSTER", "FAILOVER")
                deadline = monotonic() + FAILOVER_LIMIT_S
            return f"{replica.name} is still a replica"

        await self._until(not_promoted)
        await self.settle()

    def _node(self, number: int) -> RedisServer:
        options = self._defaults | self._options
        return RedisServer(
            options, persistence=self._persistence, folder=self.folder / f"n{number}", name=f"node-{number}"
        )

    async def _give_slots(self) -> None:
        for index, node in enumerate(self.nodes[: self._primaries]):
            first, end = index * SLOTS // self._primaries, (index + 1) * SLOTS // self._primaries
            await node.admin("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            # Else all begin with 0 and settle it in rounds. It is taken only from a node that knows nobody.
            await node.admin("CLUSTER", "SET-CONFIG-EPOCH", index + 1)

    async def _meet(self) -> None:
        bus = {node: (await node.admin("CONFIG", "GET", "cluster-port"))[1] for node in self.nodes}
        # Each with each: gossip would do it too, but later.
        for index, node in enumerate(self.nodes):
            for other in self.nodes[index + 1 :]:
                await node.admin("CLUSTER", "MEET", LOOPBACK, other.port, bus[other])

    async def _replicate(self) -> None:
        ids = [view.id for view in await self._views()]
        for index in range(self._primaries, self._count):
            await self.nodes[index].admin("CLUSTER", "REPLICATE", ids[index % self._primaries])

    async def _migrate(self, slot: int, source: RedisServer, target: RedisServer, count: int) -> None:
        while count > 0:
            keys = await source.admin("CLUSTER", "GETKEYSINSLOT", slot, min(count, KEYS_AT_ONCE))
            if not keys:
                return
            where = (LOOPBACK, target.port, "", 0, MIGRATE_LIMIT_MS)
            await source.admin("MIGRATE", *where, "REPLACE", *_login(source), "KEYS", *keys)
            count -= len(keys)

    async def _view(self, node: RedisServer) -> _View:
        lines = [line.split() for line in (await node.admin("CLUSTER", "NODES")).splitlines()]
        (mine,) = [fields for fields in lines if "myself" in fields[2]]
        return _View(
            node=node,
            id=mine[0],
            primary_id=None if mine[3] == "-" else mine[3],
            epoch=int(mine[6]),
            known=frozenset(fields[0] for fields in lines if "handshake" not in fields[2]),
            # What stands in brackets is about to come or go.
            owners={fields[0]: slots for fields in lines if (slots := tuple(x for x in fields[8:] if x[0] != "["))},
        )

    async def _views(self) -> list[_View]:
        return await asyncio.gather(*(self._view(node) for node in self.nodes if awake(node)))

    async def _strangers(self) -> str:
        views = await self._views()
        ids = {view.id for view in views}
        return "" if all(ids <= view.known for view in views) else "not all nodes know each other"

    async def _disorder(self) -> str:
        views = await self._views()
        if trouble := await self._strangers():
            return trouble
        if any(view.owners != views[0].owners for view in views):
            return "the nodes do not agree on who owns which slots"
        if not views[0].owners.keys() <= {view.id for view in views}:
            return "slots are owned by a node that is away"
        for view in views:
            if "cluster_state:ok" not in await view.node.admin("CLUSTER", "INFO"):
                return f"{view.node.name} says that the cluster is not ok"
            replicas = [other.node for other in views if other.primary_id == view.id]
            if view.primary_id is None and (trouble := await out_of_sync(view.node, replicas)):
                return trouble
        return ""


def _login(node: RedisServer) -> tuple[str, ...]:
    # What MIGRATE says to the other node, where the same users are.
    entry = node.admin_socket
    if entry.password is None:
        return ()
    return ("AUTH", entry.password) if entry.username is None else ("AUTH2", entry.username, entry.password)
