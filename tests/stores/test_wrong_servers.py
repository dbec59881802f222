"""A section that leads to the wrong server, or to one that cannot serve: one sentence says what to change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from redis import exceptions

from harness import RedisCluster, RedisSentinels, RedisServer
from lockstore.core.commands import Command, Request
from lockstore.core.rules import Limits
from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.stores.redis.connection.errors import fault_of
from tests.stores.kinds import one_server_kinds
from tests.support.proxy import Proxy

PART_OF_A_CLUSTER = "this server is part of a cluster: set deployment_mode: cluster"


async def said(kind: str, expected: type[Exception], **options: Any) -> str:
    store = create_store({"type": kind, "socket_timeout": 5, **options}, Limits())
    try:
        with pytest.raises(expected) as caught:
            await store.open()
    finally:
        await store.close()
    return str(caught.value)


def at(server: Any) -> dict[str, Any]:
    return {"host": server.host, "port": server.port}


@one_server_kinds
class TestTheWrongMode:
    @pytest.mark.parametrize("db", [0, 1])
    async def test_standard_at_a_node_of_a_cluster(self, db: int, kind: str, redis_cluster: RedisCluster) -> None:
        text = await said(kind, ConfigError, db=db, **at(redis_cluster.nodes[0]))
        assert text == f"lock_store.deployment_mode: {PART_OF_A_CLUSTER}"

    async def test_standard_at_a_sentinel(self, kind: str, redis_sentinels: RedisSentinels) -> None:
        text = await said(kind, ConfigError, **at(redis_sentinels.sentinels[0]))
        assert "this is a Sentinel, not the server that it monitors: set deployment_mode: sentinel" in text

    async def test_cluster_at_one_server(self, kind: str, redis_server: RedisServer) -> None:
        text = await said(kind, ConfigError, deployment_mode="cluster", **at(redis_server))
        assert text.startswith("lock_store.deployment_mode: Cluster mode is not enabled on this node: set")

    async def test_cluster_at_a_sentinel(self, kind: str, redis_sentinels: RedisSentinels) -> None:
        text = await said(kind, ConfigError, deployment_mode="cluster", **at(redis_sentinels.sentinels[0]))
        assert "this server is not a cluster node" in text

    async def test_sentinel_at_one_server(self, kind: str, redis_server: RedisServer) -> None:
        text = await said(kind, ConfigError, deployment_mode="sentinel", **at(redis_server))
        assert "this server is not a Sentinel: set deployment_mode: standard" in text

    async def test_a_database_that_is_not_there(self, kind: str, redis_server: RedisServer) -> None:
        text = await said(kind, ConfigError, db=1000, **at(redis_server))
        assert text == "lock_store.db: the server has no database of this number (its `databases`)"


@one_server_kinds
class TestTheWrongProtocol:
    async def test_is_that_of_a_web_server(self, kind: str) -> None:
        async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
            text = await said(kind, ConfigError, host="127.0.0.1", port=port)
        assert "does not speak the Redis protocol: check host and port" in text

    async def test_is_tls_that_answers_with_an_alert(self, kind: str) -> None:
        async with answering(b"\x15\x03\x03\x00\x02\x02\x46") as port:
            text = await said(kind, ConfigError, host="127.0.0.1", port=port)
        assert text == "lock_store.use_ssl: this server speaks TLS: set use_ssl: true"

    async def test_is_plain_text_where_tls_was_spoken(self, kind: str) -> None:
        async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
            text = await said(kind, StoreUnavailableError, host="127.0.0.1", port=port, use_ssl=True)
        assert "this server does not speak TLS: leave use_ssl out" in text


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(reply)
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@one_server_kinds
@pytest.mark.parametrize(
    ("setting", "hurt", "text"),
    [
        ("replicaof", ("127.0.0.1", "1"), "this server is a replica"),
        ("min-replicas-to-write", "1", "too few replicas are connected"),
    ],
)
async def test_a_server_that_cannot_serve_now_says_why(kind: str, setting: str, hurt: Any, text: str) -> None:
    async with RedisServer() as server:
        store = create_store({"type": kind, **at(server)}, Limits())
        await store.open()
        with redis.Redis(port=server.port) as client:
            if setting == "replicaof":
                client.replicaof(*hurt)
            else:
                client.config_set(setting, hurt)
        with pytest.raises(StoreUnavailableError, match=text) as caught:
            await store.apply([Request("c", "a", 1000, 0)])
        assert "script:" not in str(caught.value)
        await store.close()


SCRIPT = "script: 00ff, on @user_script:9."
RAW = ["127.0.0.1:", "13907", "script:", "0x", "SELECT", "Redis is running in protected mode", "RDB", "dataset"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (exceptions.MovedError("13907 127.0.0.1:15505"), PART_OF_A_CLUSTER),
        (exceptions.AskError("13907 127.0.0.1:15505"), PART_OF_A_CLUSTER),
        (exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"), PART_OF_A_CLUSTER),
        (exceptions.ResponseError("SELECT is not allowed in cluster mode"), PART_OF_A_CLUSTER),
        (exceptions.ClusterDownError("Hash slot not served"), "the cluster is down"),
        (
            exceptions.MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
            "lost its",
        ),
        (
            exceptions.ReadOnlyError("You can't write against a read only replica."),
            "is a replica and accepts no writes",
        ),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "still loading its data"),
        (exceptions.ResponseError("BUSY Redis is busy running a script. You can only call ..."), "SCRIPT KILL"),
        (exceptions.ResponseError(f"MISCONF Redis is configured to save RDB snapshots {SCRIPT}"), "check its disk"),
        (exceptions.ResponseError("DENIED Redis is running in protected mode because ..."), "protected mode"),
        (exceptions.OutOfMemoryError(f"command not allowed when used memory > 'maxmemory'. {SCRIPT}"), "Redis is full"),
        (exceptions.ResponseError(f"NOREPLICAS Not enough good replicas to write. {SCRIPT}"), "min-replicas-to-write"),
        (exceptions.NoPermissionError("this user has no permissions to run the 'xadd' command"), "Users and rights"),
    ],
)
def test_an_error_of_redis_is_said_in_one_sentence(error: exceptions.ResponseError, text: str) -> None:
    told = str(fault_of(error))
    assert text in told
    assert not [raw for raw in RAW if raw in told]


@pytest.mark.parametrize("kind", ["redis-cluster", "concurrent_redis-cluster"])
@pytest.mark.parametrize("endpoint", ["unknown-endpoint", "hostname"])
async def test_nodes_that_do_not_say_where_they_are_are_at_the_host_that_was_asked(
    kind: str, endpoint: str, redis_cluster: RedisCluster, key_prefix: str
) -> None:
    for node in redis_cluster.nodes:
        await node.admin("CONFIG", "SET", "cluster-preferred-endpoint-type", endpoint)
    try:
        section = {"deployment_mode": "cluster", "endpoints": redis_cluster.endpoints, "key_prefix": key_prefix}
        store = create_store({"type": kind.partition("-")[0], **section}, Limits())
        await store.open()
        commands: list[Command] = [Request(f"c{place}", "a", 1000, 0) for place in range(30)]
        for _ in range(2):
            for outcome in await store.apply(commands):
                assert not isinstance(outcome, ConversationError)
            store._servers._deployment.doubt()  # type: ignore[attr-defined]
        await store.close()
    finally:
        for node in redis_cluster.nodes:
            await node.admin("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


async def test_a_proxy_in_front_of_a_node_is_no_reason_for_other_words(redis_cluster: RedisCluster) -> None:
    node = redis_cluster.nodes[0]
    async with Proxy(node.host, node.port) as proxy:
        text = await said("concurrent_redis", ConfigError, host="127.0.0.1", port=proxy.port)
    assert PART_OF_A_CLUSTER in text
