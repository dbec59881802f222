"""Deployments of Redis that a test may hurt, and stores on them."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from harness import RabbitMQ, RedisCluster, RedisSentinels
from lockstore.core.line import Limits
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from tests.conftest import DaemonMaker
from tests.deployments.load import Served, served

KINDS = ["concurrent_redis", "redis"]

ServedMaker = Callable[..., AbstractAsyncContextManager[Served]]


def sentinel_section(kind: str, sentinels: RedisSentinels, **options: Any) -> dict[str, Any]:
    """Configure a store, with keys of its own, whose primary these sentinels know."""
    return {
        "type": kind,
        "deployment_mode": "sentinel",
        "endpoints": sentinels.endpoints,
        "key_prefix": f"t{uuid.uuid4().hex[:12]}",
        **options,
    }


def cluster_section(kind: str, cluster: RedisCluster, **options: Any) -> dict[str, Any]:
    """Configure a store, with keys of its own, on this cluster."""
    return {
        "type": kind,
        "deployment_mode": "cluster",
        "endpoints": cluster.endpoints,
        "key_prefix": f"t{uuid.uuid4().hex[:12]}",
        **options,
    }


@asynccontextmanager
async def opened(section: dict[str, Any], limits: Limits | None = None) -> AsyncIterator[LockStore]:
    """Open a store for a while."""
    store = create_store(section, limits or Limits())
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@pytest.fixture
def serve(rabbitmq: RabbitMQ, start_daemon: DaemonMaker) -> ServedMaker:
    """Put daemons under load."""

    def start(section: dict[str, Any], **options: Any) -> AbstractAsyncContextManager[Served]:
        return served(rabbitmq, start_daemon, section, **options)

    return start
