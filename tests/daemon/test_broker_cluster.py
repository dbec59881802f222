"""A daemon and a client with the addresses of all three nodes of a RabbitMQ cluster."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from harness import RabbitMQCluster, RedisServer
from lockstore.client import LockClient
from lockstore.errors import LockLostError
from lockstore.protocol.naming import Names
from tests.conftest import DaemonMaker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the three nodes start within the first test

PATIENCE_S = 150
CONVERSATIONS = 4
GRANTS = 25  # of each conversation, at least: some before the node is killed, some after


@pytest.fixture
def config(rabbitmq_cluster: RabbitMQCluster, redis_server: RedisServer, namespace: str) -> dict[str, Any]:
    place = {"host": redis_server.host, "port": redis_server.port}
    return {
        "lock_store": {"type": "concurrent_redis", "key_prefix": namespace, **place},
        "broker": {"url": rabbitmq_cluster.url, "namespace": namespace},
    }


async def replicated(cluster: RabbitMQCluster, queue: str) -> None:
    """Wait until every node has a running replica: one that is still starting cannot elect a leader."""
    states: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while sorted(states) != ["follower"] * (len(cluster.nodes) - 1) + ["leader"]:
            table = await cluster.nodes[0].ctl("quorum_status", queue, "--formatter", "json", tool="rabbitmq-queues")
            states = [row["Raft State"] for row in json.loads(table)]


async def test_the_loss_of_the_daemons_node_costs_a_reconnect_and_no_request(
    rabbitmq_cluster: RabbitMQCluster,
    config: dict[str, Any],
    namespace: str,
    start_daemon: DaemonMaker,
    capsys: pytest.CaptureFixture[str],
) -> None:
    daemon = await start_daemon(config)
    for queue in (Names(namespace).request_queue(0), Names(namespace).dead_letters):
        await replicated(rabbitmq_cluster, queue)
    granted: list[tuple[float, str, int]] = []
    is_killed = asyncio.Event()

    async def work(locks: LockClient, conversation: str) -> None:
        after = 0
        while after < GRANTS:
            try:
                async with locks.lock(conversation, wait=PATIENCE_S) as ticket:
                    granted.append((asyncio.get_running_loop().time(), conversation, ticket.number))
                    after += is_killed.is_set()
                    await asyncio.sleep(0.01)
            except LockLostError:
                continue  # held over the outage for longer than the lease lasts: a busy machine

    node = rabbitmq_cluster.node_at(daemon.events("daemon.ready")[-1]["node"])
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            LockClient(rabbitmq_cluster.url, namespace=namespace) as locks,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(CONVERSATIONS):
                tasks.create_task(work(locks, f"c{number}"))
            while len(granted) < GRANTS:
                await asyncio.sleep(0.05)
            await node.kill()
            is_killed.set()
    finally:
        if not node.running:
            await node.start()
    outage_s = max(after - before for (before, *_), (after, *_) in pairwise(granted))
    with capsys.disabled():
        print(f"\nno grant for {outage_s:.2f} s after the daemon's node was killed")
    assert daemon.events("broker.lost")[0]["again_in_s"] == 0
    assert daemon.events("daemon.ready")[-1]["node"] != daemon.events("daemon.ready")[0]["node"]
    for number in range(CONVERSATIONS):
        numbers = [ticket for _, conversation, ticket in granted if conversation == f"c{number}"]
        assert numbers == sorted(set(numbers))
