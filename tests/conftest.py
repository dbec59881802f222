"""What all tests share: real servers, one of each for the whole run, and a name of its own for each test."""

import signal
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from harness import DaemonProcess, RabbitMQ, RabbitMQCluster, RedisCluster, RedisSentinels, RedisServer, Watch

# A shell starts what runs in its background with SIGINT and SIGQUIT ignored, and children inherit that; some tests interrupt
# theirs. Likewise SIGHUP, under nohup.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

# No time limit: the machine may be busy. Fewer examples than by default, for each run has others; some tests ask for more.
settings.register_profile("lockstore", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lockstore")

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.support.bot import Bot

LONGEST = (
    "packaging/test_beside_bots.py",
    "fleet/test_fleet.py",
    "partitions/test_repartition.py",
    "daemon/test_queues_that_do_not_take.py",
    "deployments/test_fencing.py",
    "daemon/test_restarts.py",
    "deployments/test_sentinel.py",
    "deployments/test_cluster.py",
    "packaging/test_wheels.py",
    "demo/test_demo.py",
    "commands/test_terminals.py",
    "migration/test_takeover.py",
    "partitions/test_sharing.py",
    "daemon/test_broker_cluster.py",
    "migration/test_purge_command.py",
    "daemon/test_topology_watch.py",
    "daemon/test_lifecycle.py",
    "partitions/test_takeover.py",
    "commands/test_check.py",
    "harness/test_redis_sentinels.py",
    "harness/test_rabbitmq.py",
    "stores/test_line_machine.py",
    "commands/test_exec.py",
    "commands/test_status.py",
    "daemon/test_isolation.py",
    "stores/test_damaged_keys.py",
    "migration/test_purge.py",
    "docs/test_operations.py",
)
"""The files that take longest, by the sum of their tests, longest first: a worker that begins one last keeps the others waiting for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    places = {Path(__file__).parent / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


DaemonMaker = Callable[..., Coroutine[Any, Any, DaemonProcess]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbitmq() -> AsyncIterator[RabbitMQ]:
    """Start the RabbitMQ that tests share; they keep apart by `namespace`."""
    async with RabbitMQ() as node:
        yield node


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbitmq_cluster() -> AsyncIterator[RabbitMQCluster]:
    """Start the cluster of three RabbitMQ nodes that tests share. A test that stops a node starts it again."""
    async with RabbitMQCluster() as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server() -> AsyncIterator[RedisServer]:
    """Start the Redis that tests share; they keep apart by `key_prefix`."""
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_cluster() -> AsyncIterator[RedisCluster]:
    """Start the Redis Cluster that tests share, three primaries without replicas; no test may hurt it.

    A machine that hangs for a moment must not look like a failure of a node.
    """
    async with RedisCluster(node_timeout_ms=15_000) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_sentinels() -> AsyncIterator[RedisSentinels]:
    """Start the primary, the replica and the three Sentinels that tests share; no test may hurt them.

    As patient as the cluster: a failover here would be one of the machine's making.
    """
    async with RedisSentinels(watch=Watch(down_after_ms=30_000)) as sentinels:
        yield sentinels


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator["Browser"]:
    """Start the Chromium that tests share; each visit has a context of its own. Tests that use it live in its loop:

    `pytestmark = pytest.mark.asyncio(loop_scope="session")`.
    """
    from tests.support.browser import chromium  # what drives it is large, and few tests need it

    async with chromium() as started:
        yield started


@pytest.fixture
def namespace() -> str:
    """Name what this test declares on the broker."""
    return f"t{uuid.uuid4().hex[:12]}"


def shared_config(rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str) -> dict[str, Any]:
    """Configure a daemon on the shared servers, with the recommended store; the namespace is its key prefix too."""
    return {
        "lock_store": {
            "type": "concurrent_redis",
            "host": redis_server.host,
            "port": redis_server.port,
            "key_prefix": namespace,
        },
        "broker": {"url": rabbitmq.url, "namespace": namespace},
        "daemon": {},
    }


@pytest.fixture
def config(rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str) -> dict[str, Any]:
    """Configure this test's daemon."""
    return shared_config(rabbitmq, redis_server, namespace)


@pytest_asyncio.fixture
async def start_daemon() -> AsyncIterator[DaemonMaker]:
    """Start daemons that end with the test."""
    daemons: list[DaemonProcess] = []

    async def start(config: dict[str, Any], **options: Any) -> DaemonProcess:
        daemon = DaemonProcess(config, **options)
        daemons.append(daemon)
        await daemon.start()
        return daemon

    yield start
    for daemon in daemons:
        await daemon.close()


@pytest_asyncio.fixture
async def bot(rabbitmq: RabbitMQ, namespace: str) -> AsyncIterator["Bot"]:
    """Connect a raw AMQP client with a reply queue of its own. It needs the daemon's topology only when it speaks."""
    from tests.support.bot import Bot  # of aio-pika 10, which an environment of the client's tests may not have

    async with Bot(rabbitmq.url, namespace) as connected:
        yield connected
