"""Every store, opened for a test and looked over at its end."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from harness import RedisCluster, RedisSentinels, RedisServer
from lockstore.core.line import Limits
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from tests.stores.clock import AHEAD_MS, Clock, hold_pythons_time, hold_redis_time
from tests.stores.custom_stores import SERVERS
from tests.stores.deployments import Client, Deployment, behind_sentinels, in_a_cluster, one_server
from tests.stores.kinds import USUAL_KINDS, mode_of, type_of
from tests.stores.table import StoreTable
from tests.stores.witness import Witness, check_keys

OpenStore = Callable[..., Awaitable[LockStore]]


@pytest.fixture(params=USUAL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Name the store under test; `tests.stores.kinds` has the narrower choices."""
    return str(request.param)


@pytest.fixture
def key_prefix() -> str:
    """Name what this test writes to Redis."""
    return f"s{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def standard(redis_server: RedisServer) -> Iterator[Deployment]:
    with one_server(redis_server) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def sentinel(redis_sentinels: RedisSentinels) -> Iterator[Deployment]:
    with behind_sentinels(redis_sentinels) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def cluster(redis_cluster: RedisCluster) -> Iterator[Deployment]:
    with in_a_cluster(redis_cluster) as deployment:
        yield deployment


@pytest.fixture
def deployment(kind: str, request: pytest.FixtureRequest) -> Deployment:
    """Give the servers of a Redis store; those that a run's tests don't ask for are not started."""
    deployment: Deployment = request.getfixturevalue(mode_of(kind))
    return deployment


@pytest.fixture
def client(deployment: Deployment) -> Client:
    """Look at the servers as anybody could."""
    return deployment.client


@pytest.fixture
def section(kind: str, key_prefix: str, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Give the section of this store, with data of its own, that two stores built from it share."""
    if "redis" in kind:
        deployment: Deployment = request.getfixturevalue("deployment")
        yield {"type": type_of(kind), **deployment.options, "key_prefix": key_prefix}
    elif kind == "in_memory":
        yield {}
    elif kind == "custom_sqlite":
        file = request.getfixturevalue("tmp_path") / "locks.db"
        yield {"type": "examples.sqlite_lock_store.SqliteLockStore", "path": str(file)}
    else:
        name = {"custom": "DictLockStore", "custom_async": "AsyncDictLockStore"}[kind]
        yield {"type": f"tests.stores.custom_stores.{name}", "url": f"dict://{key_prefix}"}
        SERVERS.pop(f"dict://{key_prefix}", None)


@pytest.fixture
def clock(
    kind: str, key_prefix: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Clock]:
    """Stop the clock of the stores that the test opens afterwards."""
    clock = Clock()
    if "redis" in kind:
        clock = request.getfixturevalue("deployment").clock(key_prefix)
        hold_redis_time(clock, monkeypatch)
    else:
        hold_pythons_time(clock, monkeypatch)
    yield clock
    clock.close()


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    return Witness(monkeypatch)


@pytest.fixture
def clean_redis(kind: str, key_prefix: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Check and remove what a test leaves on Redis."""
    if "redis" not in kind:
        yield
        return
    client = request.getfixturevalue("client")
    before = set(client.scan_iter())
    yield
    ahead_ms = AHEAD_MS + 10**6 if "clock" in request.fixturenames else 0
    longest_ms = max(Limits().dedup_window_ms, Limits().history_keep_ms)
    check_keys(client, before, key_prefix, longest_ms + ahead_ms)


@pytest_asyncio.fixture
async def open_store(section: dict[str, Any], witness: Witness, clean_redis: None) -> AsyncIterator[OpenStore]:
    """Open stores on the same data. At the test's end all lines are checked and all stores closed."""

    async def open_one(limits: Limits | None = None) -> LockStore:
        store = create_store(section, limits or Limits())
        await store.open()
        witness.watch(store)
        return store

    yield open_one
    await witness.check_lines()
    for store in witness.stores:
        await store.close()


@pytest_asyncio.fixture
async def store(open_store: OpenStore) -> LockStore:
    return await open_store()


@pytest_asyncio.fixture
async def table(clock: Clock, open_store: OpenStore) -> StoreTable:
    """A conversation of a store whose clock stands still, spoken to in the words of the transcripts."""
    return StoreTable(await open_store(), clock)
