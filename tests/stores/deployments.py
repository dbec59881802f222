"""How Redis is deployed for the stores under test: what a section says of it, and how a test looks at all of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.cluster import ClusterNode

from harness import RedisCluster, RedisSentinels, RedisServer
from tests.stores.clock import KeptClock, RedisClock, WrittenClock

Client = redis.Redis | redis.RedisCluster


@dataclass(frozen=True, eq=False)
class Deployment:
    """One server, a primary that sentinels know, or a cluster."""

    options: Mapping[str, Any]
    """Of the section."""
    client: Client
    """All keys, wherever they are."""
    primaries: Sequence[redis.Redis]
    """Each server that takes writes, for what it has of its own: statistics, connections."""

    def clock(self, name: str) -> RedisClock:
        """Give a clock of its own to the test of this name."""
        return KeptClock(self.client, name) if isinstance(self.client, redis.Redis) else WrittenClock(self.client)


@contextmanager
def one_server(server: RedisServer) -> Iterator[Deployment]:
    """Look at one server."""
    with redis.Redis(host=server.host, port=server.port, db=1) as client:
        yield Deployment({"host": server.host, "port": server.port}, client, [client])


@contextmanager
def behind_sentinels(group: RedisSentinels) -> Iterator[Deployment]:
    """Look at the primary that sentinels name."""
    places = [(sentinel.host, sentinel.port) for sentinel in group.sentinels]
    told = redis.Sentinel(places)  # type: ignore[no-untyped-call]
    options = {
        "deployment_mode": "sentinel",
        "endpoints": group.endpoints,
        "sentinel_service": group.service,
    }
    with told.master_for(group.service, db=1) as client:  # type: ignore[no-untyped-call]
        yield Deployment(options, client, [client])
    for sentinel in told.sentinels:
        sentinel.close()


@contextmanager
def in_a_cluster(group: RedisCluster) -> Iterator[Deployment]:
    """Look at all primaries of a cluster."""
    nodes = [ClusterNode(node.host, node.port) for node in group.nodes]  # type: ignore[no-untyped-call]
    options = {"deployment_mode": "cluster", "endpoints": group.endpoints}
    with redis.RedisCluster(startup_nodes=nodes) as client:
        yield Deployment(options, client, [client.get_redis_connection(node) for node in client.get_primaries()])
