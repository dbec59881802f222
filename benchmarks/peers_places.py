"""The locks that `benchmarks.peers` and `benchmarks.waiters` compare, and the servers that each of them needs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.contest import Places
from benchmarks.servers.etcd import Etcd
from benchmarks.servers.missing import package
from benchmarks.servers.postgresql import PostgreSQL
from benchmarks.servers.zookeeper import ZooKeeper
from benchmarks.throughput import configured
from harness import Workplace

__all__ = ["OURS", "PEERS", "PROCESSES", "Peer"]

PROCESSES = 2  # that the waiters of a lock are shared out among

_CONNECTIONS_BESIDES = 10  # those that PostgreSQL keeps for itself, and its probe's
_LINE_MAX = 1000  # waiters; the daemon's default


async def _daemon(place: Workplace, waiters: int) -> Places:
    node, store = await asyncio.gather(place.rabbitmq(), place.redis())
    config = configured(node, store, events=True)
    if waiters >= _LINE_MAX:
        config["daemon"]["max_waiting"] = waiters + 1
    await place.daemon(config)
    return {"rabbitmq": node.url}


async def _redis(place: Workplace, _: int) -> Places:
    store = await place.redis()
    return {"redis": {"host": store.host, "port": store.port}}


async def _postgresql(place: Workplace, waiters: int) -> Places:
    package("psycopg")
    server = await place.add(PostgreSQL(connections=max(100, waiters + _CONNECTIONS_BESIDES)))
    return {"postgresql": server.conninfo}


async def _zookeeper(place: Workplace, _: int) -> Places:
    package("kazoo")
    return {"zookeeper": (await place.add(ZooKeeper(folder=place.folder / "zookeeper"))).address}


async def _etcd(place: Workplace, _: int) -> Places:
    package("grpc")
    package("google.protobuf")
    return {"etcd": (await place.add(Etcd(folder=place.folder / "etcd"))).address}


@dataclass(frozen=True, slots=True)
class Peer:
    """One lock: the name that --peers takes, the one in the catalogue, how to start its servers, what it is in short."""

    name: str
    lock: str
    start: Callable[[Workplace, int], Awaitable[Places]]
    what: str
    polls_s: float = 0.0  # its interval, if it is a line that polls: a hand-off takes a good part of that

    @property
    def slow(self) -> bool:
        """Whether a hand-off takes so long that few can be measured."""
        return self.polls_s > 0


PEERS = {
    peer.name: peer
    for peer in (
        Peer("lockstore", "daemon", _daemon, "this project: its client, RabbitMQ, the daemon, Redis"),
        Peer("concurrent_redis", "concurrent_redis", _redis, "this project without the daemon: the store alone"),
        Peer("redis-py", "redis-py", _redis, "redis-py's asyncio Lock, which asks every 0.1 s (its default)"),
        Peer("python-redis-lock", "python-redis-lock", _redis, "python-redis-lock, which waits in BLPOP"),
        Peer("rasa-poll", "poll", _redis, "a line in Redis, looked at every second, as Rasa 3.6 does", 1.0),
        Peer("postgresql", "postgresql", _postgresql, "PostgreSQL's advisory locks, by psycopg"),
        Peer("zookeeper", "zookeeper", _zookeeper, "ZooKeeper, by kazoo's Lock"),
        Peer("etcd", "etcd", _etcd, "etcd's lock service, by gRPC"),
    )
}
OURS = ("lockstore", "concurrent_redis")
