"""A connection that was cut off while nobody used it: the next call does not notice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import redis
from redis.asyncio.cluster import NodesManager

from harness import RedisServer
from lockstore.core.commands import Command, Request
from lockstore.core.rules import Limits
from lockstore.errors import ConversationError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from tests.stores.conftest import OpenStore
from tests.stores.deployments import Deployment
from tests.stores.kinds import one_server_kinds, redis_kinds
from tests.support.proxy import Proxy

CUTS: dict[str, Callable[[Proxy], None]] = {"closed": Proxy.close, "reset": Proxy.cut, "forgotten": Proxy.forget}
LONG_S = 0.7  # idle for longer than a connection is trusted

cuts = pytest.mark.parametrize("cut", CUTS)


@asynccontextmanager
async def behind_proxy(kind: str, server: RedisServer, **options: Any) -> AsyncIterator[tuple[LockStore, Proxy]]:
    async with Proxy(server.host, server.port) as proxy:
        store = create_store({"type": kind, "host": "127.0.0.1", "port": proxy.port, **options}, Limits())
        await store.open()
        try:
            yield store, proxy
        finally:
            await store.close()


async def served(store: LockStore, *commands: Command) -> None:
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)


async def visit(store: LockStore, name: str) -> None:
    async with store.lock(name):
        pass


@one_server_kinds
class TestAProxyThatDropsIdleConnections:
    @cuts
    async def test_is_not_noticed_by_a_direct_caller(self, cut: str, kind: str, redis_server: RedisServer) -> None:
        async with behind_proxy(kind, redis_server, key_prefix="idle") as (store, proxy):
            first = await store.issue_ticket("c")
            for turn in range(1, 4):
                await asyncio.sleep(LONG_S)
                CUTS[cut](proxy)
                await asyncio.sleep(0)
                assert await store.issue_ticket("c") == first + turn, "issued once"
            for turn in range(4):
                await store.finish_serving("c", first + turn)
            await visit(store, "c")

    @cuts
    async def test_is_not_noticed_by_many_callers_at_once(self, cut: str, kind: str, redis_server: RedisServer) -> None:
        async with behind_proxy(kind, redis_server, key_prefix="idle") as (store, proxy):
            names = [f"many {place}" for place in range(20)]
            await asyncio.gather(*(visit(store, name) for name in names))
            await asyncio.sleep(LONG_S)
            CUTS[cut](proxy)
            await asyncio.gather(*(visit(store, name) for name in names))

    @cuts
    async def test_is_not_noticed_by_the_daemons_batches(self, cut: str, kind: str, redis_server: RedisServer) -> None:
        async with behind_proxy(kind, redis_server, key_prefix="idle") as (store, proxy):
            await served(store, Request("batch", "a", 1000, 0))
            await asyncio.sleep(LONG_S)
            CUTS[cut](proxy)
            await served(store, Request("batch", "a", 1000, 0), Request("another", "a", 1000, 0))
            await asyncio.sleep(LONG_S)
            CUTS[cut](proxy)
            await store.patrol([store.shard_of("batch")], 0)
            await store.warnings()

    async def test_ends_hints_for_a_moment_only(self, kind: str, redis_server: RedisServer) -> None:
        async with behind_proxy(kind, redis_server, key_prefix="idle") as (store, proxy), AsyncExitStack() as holding:
            await holding.enter_async_context(store.lock("hinted"))
            waiter = asyncio.create_task(waits_for_a_hint(store, "hinted"))
            while len((await store.get_or_create_lock("hinted")).tickets) < 2:
                await asyncio.sleep(0.01)
            subscription = store._subscription  # type: ignore[attr-defined]
            await subscription.want()
            proxy.cut()
            while subscription._confirmed:
                await asyncio.sleep(0.01)
            while not subscription._confirmed:
                await subscription.want()
            await holding.aclose()
            await asyncio.wait_for(waiter, 20)


async def waits_for_a_hint(store: LockStore, name: str) -> None:
    async with store.lock(name, 60, 50):
        pass


@redis_kinds
@pytest.mark.parametrize("pause_s", [0.0, LONG_S])
async def test_a_connection_that_redis_closes_is_made_again(
    pause_s: float, open_store: OpenStore, deployment: Deployment
) -> None:
    store = await open_store()
    numbers = []
    for _ in range(3):
        numbers.append(await store.issue_ticket("c"))
        await asyncio.sleep(pause_s)
        assert close_clients(deployment) > 0
        await asyncio.sleep(0.05)  # the end arrives
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    for number in numbers:
        await store.finish_serving("c", number)
    await visit(store, "c")


def close_clients(deployment: Deployment) -> int:
    """Close what `timeout` would, and say how many there were."""
    closed = 0
    for primary in deployment.primaries:
        own = primary.client_id()
        clients: Any = primary.client_list(_type="normal")
        for found in clients:
            if int(found["id"]) != own and not found["name"].startswith("sentinel-"):
                closed += primary.client_kill_filter(_id=found["id"])
    return closed


@pytest.mark.parametrize("kind", ["redis-cluster", "concurrent_redis-cluster"])
async def test_a_cluster_is_asked_anew_for_its_layout_though_idle_connections_were_closed(
    open_store: OpenStore, deployment: Deployment
) -> None:
    store = await open_store()
    await visit(store, "c")
    close_clients(deployment)
    await asyncio.sleep(0.05)
    store._servers._deployment.doubt()  # type: ignore[attr-defined]
    layout = store._servers._deployment._layout  # type: ignore[attr-defined]
    assert isinstance(layout, NodesManager)
    await visit(store, "c")


@one_server_kinds
async def test_a_restart_while_idle_is_not_noticed(kind: str) -> None:
    async with RedisServer(persistence="always") as server:
        store = create_store({"type": kind, "host": server.host, "port": server.port}, Limits())
        await store.open()
        await visit(store, "c")
        await server.stop()
        await server.start()
        await visit(store, "c")
        with redis.Redis(port=server.port) as client:
            client.config_set("timeout", 1)
        await asyncio.sleep(2.5)
        await visit(store, "c")
        await store.close()
