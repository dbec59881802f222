"""IAM for ElastiCache: a daemon whose password changes all the time, on servers that know no other, in every deployment.

Time runs fast: tokens are good for 4 seconds and connections for 2 (tests/support/iam_daemon.py).
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisError

from harness import DaemonProcess, RabbitMQ, RedisCluster, RedisSentinels, RedisServer
from lockstore.client import LockClient
from lockstore.errors import StoreUnavailableError
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.connection.options import RedisOptions
from tests.conftest import DaemonMaker
from tests.support.iam_daemon import TIMES
from tests.support.iam_server import ENVIRON, SERVER_OPTIONS, USER, BadTokenError, IamServer, Token, judged
from tests.support.redis_tls import RedisTls
from tests.support.serve import run_serve

MODES = ["standard", "sentinel", "cluster"]


def only(mode: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stage", [mode], indirect=True)


CALLERS, CONVERSATIONS = 8, 24  # spread over all nodes of a cluster
WORK_S = 5.0
LONGEST_GAP_S = 2.0  # between two grants, on a machine that is busy with other things


@dataclass(frozen=True)
class Deployment:
    """Servers over TLS whose only user but the administrator comes in with tokens."""

    section: dict[str, Any]
    primaries: Sequence[RedisServer]
    servers: Sequence[RedisServer]
    tls: RedisTls
    group: RedisSentinels | RedisCluster | None = None

    async def clients(self, server: RedisServer) -> list[dict[str, str]]:
        """Give the connections of the user to a server."""
        lines = (await server.admin("CLIENT", "LIST")).splitlines()
        clients = [dict(word.split("=", 1) for word in line.split()) for line in lines]
        return [client | {"id": f"{server.name}/{client['id']}"} for client in clients if client["user"] == USER]

    async def all_clients(self) -> list[dict[str, str]]:
        return [client for primary in self.primaries for client in await self.clients(primary)]

    async def kill_clients(self) -> None:
        for primary in self.primaries:
            await primary.admin("CLIENT", "KILL", "USER", USER)

    async def reauthentications(self) -> int:
        """Count those on live connections to the primaries: a new one authenticates with HELLO.

        Each command of the administrator comes in with AUTH: those that let a token in or out, and the one that counts here.
        """
        counted = 0
        for primary in self.primaries:
            calls = _calls(await primary.admin("INFO", "commandstats"))
            counted += calls["auth"] - calls["acl|setuser"]
        return counted

    async def lets_in(self, token: Token) -> bool:
        """Try a token as any client could."""
        server = self.primaries[0]
        client = redis.Redis(
            host=server.host,
            port=server.port,
            username=USER,
            password=token.text,
            retry=Retry(NoBackoff(), 0),
            **self.tls.client_options,
        )
        async with client:
            try:
                return bool(await client.ping())
            except AuthenticationError:
                return False


def _calls(commandstats: str) -> dict[str, int]:
    """Read how often each command was called."""
    lines = [line.removeprefix("cmdstat_").partition(":calls=") for line in commandstats.splitlines()[1:]]
    return {name: int(rest.partition(",")[0]) for name, _, rest in lines}


@asynccontextmanager
async def standard(tls: RedisTls) -> AsyncIterator[Deployment]:
    async with RedisServer(tls.server_options | SERVER_OPTIONS) as server:
        yield Deployment({"host": server.host, "port": server.port}, [server], [server], tls)


@asynccontextmanager
async def sentinel(tls: RedisTls) -> AsyncIterator[Deployment]:
    own = tls.server_options | {"requirepass": "of-the-sentinels"}
    async with RedisSentinels(options=tls.server_options | SERVER_OPTIONS, sentinel_options=own) as group:
        section = {
            "deployment_mode": "sentinel",
            "endpoints": group.endpoints,
            "sentinel_password": "of-the-sentinels",
        }
        yield Deployment(section, [await group.primary()], group.servers, tls, group)


@asynccontextmanager
async def cluster(tls: RedisTls) -> AsyncIterator[Deployment]:
    async with RedisCluster(options=tls.server_options | {"tls-cluster": "yes"} | SERVER_OPTIONS) as group:
        section = {"deployment_mode": "cluster", "endpoints": group.endpoints[:1]}
        yield Deployment(section, group.nodes, group.nodes, tls, group)


@pytest.fixture(autouse=True)
def no_variables_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "IAM_", "ELASTICACHE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@dataclass(frozen=True)
class Stage:
    """A daemon at work on a deployment, and who lets it in."""

    deployment: Deployment
    iam: IamServer
    daemon: DaemonProcess
    locks: LockClient

    def complaints(self) -> list[dict[str, Any]]:
        return [line for line in self.daemon.log_lines() if line["level"] in {"warning", "error", "critical"}]

    async def subscribers(self) -> bool:
        return any(client["cmd"] == "subscribe" for client in await self.deployment.all_clients())

    async def until(self, holds: Callable[[], bool | Awaitable[bool]], otherwise: str) -> None:
        try:
            async with asyncio.timeout(60):
                while not (await answer if isinstance(answer := holds(), Awaitable) else answer):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(otherwise) from None

    async def work(self, duration_s: float) -> list[float]:
        """Take and give back locks for that long, and give the moments at which one was granted."""
        entered: list[float] = []
        end = time.monotonic() + duration_s

        async def call(caller: int) -> None:
            turn = caller
            while time.monotonic() < end:
                turn += 1
                async with self.locks.lock(f"c{turn % CONVERSATIONS}", wait=30, lifetime=30):
                    entered.append(time.monotonic())

        await asyncio.gather(*(call(caller) for caller in range(CALLERS)))
        return sorted(entered)


@pytest.fixture(params=MODES)
async def stage(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQ, start_daemon: DaemonMaker, namespace: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    tls = RedisTls.made_in(tmp_path)
    deployed = {"standard": standard, "sentinel": sentinel, "cluster": cluster}[request.param]
    async with deployed(tls) as deployment, IamServer(deployment.servers) as iam:
        config = {
            "lock_store": {
                "type": "concurrent_redis",
                "username": USER,
                "use_ssl": True,
                "ssl_ca_certs": str(tmp_path / "ca.pem"),
                "ssl_certfile": str(tmp_path / "cert.pem"),
                "ssl_keyfile": str(tmp_path / "key.pem"),
                **deployment.section,
            },
            "broker": {"url": rabbitmq.url, "namespace": namespace},
        }
        daemon = await start_daemon(config, module="tests.support.iam_daemon", argv=(iam.path,), env=ENVIRON)
        async with LockClient(rabbitmq.url, namespace=namespace) as locks:
            yield Stage(deployment, iam, daemon, locks)
        assert iam.refused == []
        said = daemon.log.read_text()
        assert not [token for token in iam.tokens if token.signature in said]


async def is_primary(server: RedisServer) -> bool:
    with suppress(RedisError):  # a Sentinel that promotes a server ends its connections
        return (await server.replication())["role"] == "master"
    return False


async def refused_by(stage: Stage, token: Token) -> bool:
    await asyncio.sleep(max(0.0, token.valid_until - time.time()) + 0.2)
    return not await stage.deployment.lets_in(token)


@pytest.mark.slow
async def test_a_daemon_serves_on_while_tokens_and_connections_grow_old(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    deployment, tokens = stage.deployment, stage.iam.tokens
    await stage.work(1)
    made, before = len(tokens), await deployment.reauthentications()
    entered = await stage.work(WORK_S)
    again = await deployment.reauthentications() - before - len(deployment.primaries)
    gap_s = max(after - one for one, after in pairwise(entered))
    print(f"{request.node.callspec.id}: {len(entered)} grants in {WORK_S} s, the longest gap {gap_s:.2f} s,", end=" ")
    print(f"{len(tokens) - made} new tokens, {again} authentications on live connections")
    assert stage.complaints() == []
    assert gap_s < LONGEST_GAP_S
    assert len(tokens) - made >= WORK_S / TIMES.reauthenticate_s - 1
    # One connection at least to each server that was used all the time. Not with each batch, of which there were hundreds.
    per_server = again / len(deployment.primaries)
    assert WORK_S / TIMES.reauthenticate_s - 1 <= per_server < len(entered) / 10
    assert all([await deployment.clients(primary) for primary in deployment.primaries])

    # The tokens that all these connections came in with, the first one or a later, open nothing any more.
    assert await refused_by(stage, tokens[0])
    connected = {client["id"] for client in await deployment.all_clients()}
    await asyncio.sleep(0.2)  # the last releases are served
    await deployment.kill_clients()
    assert await stage.work(1)
    assert await deployment.lets_in(tokens[-1])
    assert not connected & {client["id"] for client in await deployment.all_clients()}
    assert {line["event"] for line in stage.complaints()} <= {"store.unavailable"}  # a batch was under way


@only("sentinel")
async def test_the_sentinels_password_is_another_and_whoever_they_name_gets_the_token(stage: Stage) -> None:
    group = stage.deployment.group
    assert isinstance(group, RedisSentinels)
    old, [new] = await group.primary(), await group.replicas()
    await stage.work(0.5)
    assert await stage.deployment.clients(old)
    await old.kill()
    await stage.until(lambda: is_primary(new), "the replica was not promoted")
    assert await stage.work(1)
    assert await stage.deployment.clients(new)
    for sentinel in group.sentinels:
        assert await sentinel.admin("ACL", "LOG") == []  # nobody tried to come in with something else


@pytest.mark.slow
@only("standard")
async def test_without_aws_credentials_new_connections_wait_and_afterwards_all_is_as_before(stage: Stage) -> None:
    await stage.work(0.5)
    await stage.until(stage.subscribers, "nobody listens to hints")
    stage.iam.away = True
    await asyncio.sleep(TIMES.refresh_s)
    await stage.deployment.kill_clients()
    waiting = asyncio.create_task(stage.work(0.1))
    await stage.until(lambda: bool(stage.daemon.events("store.unavailable")), "the daemon did not notice")
    await asyncio.sleep(TIMES.reauthenticate_s)
    assert not stage.daemon.events("store.available")
    stage.iam.away = False
    assert await waiting
    await stage.until(stage.subscribers, "nobody listens to hints any more")


@only("standard")
async def test_what_was_not_shown_to_the_server_is_no_password(stage: Stage) -> None:
    await stage.work(0.2)
    forged = Token(stage.iam.tokens[-1].text[:-1] + "x", 0)
    assert not await stage.deployment.lets_in(forged)
    with pytest.raises(BadTokenError, match="signature"):
        judged(forged.text, time.time())
    with pytest.raises(BadTokenError, match="its time"):
        judged(stage.iam.tokens[-1].text, time.time() + 60)


# --- live connections when there are no new credentials ------------------------------------------------------------------


class Moody(CredentialProvider):
    """Credentials of the shared server's default user, which may be away, or not come at all."""

    reauthenticate_s = 0.2

    def __init__(self) -> None:
        self.given = 0
        self.mood = "well"

    def get_credentials(self) -> tuple[str, str]:
        raise NotImplementedError

    async def get_credentials_async(self) -> tuple[str, str]:
        if self.mood == "away":
            raise StoreUnavailableError("no token")
        if self.mood == "hanging":
            await asyncio.Event().wait()
        self.given += 1
        return "default", "any"


@pytest.mark.parametrize("mood", ["away", "hanging"])
async def test_a_live_connection_is_used_on_where_no_new_credentials_come(
    mood: str, redis_server: RedisServer, namespace: str
) -> None:
    credentials = Moody()
    options = RedisOptions(host=redis_server.host, port=redis_server.port, key_prefix=namespace, socket_timeout=2)
    store = ConcurrentRedisLockStore(options, credentials)
    await store.open()
    try:
        for place in range(3):
            await store.issue_ticket(f"c{place}")
            await asyncio.sleep(credentials.reauthenticate_s)
        given, credentials.mood = credentials.given, mood
        assert given >= 3
        began = time.monotonic()
        for _ in range(20):
            await store.issue_ticket("c")
        assert time.monotonic() - began < 20  # each of the twenty would have waited for 2 s
        assert credentials.given == given
    finally:
        await store.close()


async def test_a_new_connection_says_why_it_cannot_be_made(redis_server: RedisServer, namespace: str) -> None:
    credentials = Moody()
    credentials.mood = "away"
    options = RedisOptions(host=redis_server.host, port=redis_server.port, key_prefix=namespace)
    store = ConcurrentRedisLockStore(options, credentials)
    with pytest.raises(StoreUnavailableError, match=r"^no token$"):
        await store.open()
    credentials.mood = "well"
    await store.open()
    await store.close()


# --- what stops the start --------------------------------------------------------------------------------------------------

VARIABLES = {name: value for name, value in ENVIRON.items() if "_ACCESS_" not in name}


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        ({"IAM_CLOUD_PROVIDER": None}, {}, "IAM_CLOUD_PROVIDER: must be set, because"),
        ({"AWS_DEFAULT_REGION": None}, {}, "AWS_DEFAULT_REGION: must be set, because"),
        ({"AWS_ELASTICACHE_CLUSTER_NAME": None}, {}, "AWS_ELASTICACHE_CLUSTER_NAME: must be set, because"),
        ({"IAM_CLOUD_PROVIDER": "gcp"}, {}, "IAM_CLOUD_PROVIDER: must be aws, not 'gcp'"),
        ({"ELASTICACHE_REDIS_AWS_IAM_ENABLED": "on"}, {}, "ELASTICACHE_REDIS_AWS_IAM_ENABLED: must be true or false"),
        ({}, {"use_ssl": False}, "lock_store.use_ssl: must be true, because"),
        ({}, {"username": None}, "lock_store.username: must be set, because"),
        ({}, {"password": "hunter2"}, "lock_store.password: must not be set, because"),
    ],
)
def test_what_iam_cannot_work_with_stops_the_start_with_one_clear_message(
    variables: dict[str, str | None],
    options: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, value in (VARIABLES | variables).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    section = {"type": "concurrent_redis", "use_ssl": True, "username": USER, **options}
    refused = run_serve({"lock_store": section}, tmp_path)
    assert refused.returncode == 2
    [line] = refused.stderr.splitlines()
    assert json.loads(line)["event"] == "daemon.refused"
    assert json.loads(line)["error"].startswith(message)
    assert "hunter2" not in refused.stderr
