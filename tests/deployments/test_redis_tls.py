"""Redis over TLS, with certificates made here: who is let in, and what a daemon says that is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness import RabbitMQ, RedisCluster, RedisServer
from lockstore.core.rules import Limits
from lockstore.errors import ConfigError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.util.tls import causes, certificate_fault
from tests.conftest import DaemonMaker
from tests.support.bot import Bot
from tests.support.redis_tls import RedisTls
from tests.support.serve import run_serve

MODES = ["standard", "cluster"]
FREE, STRICT = {"tls-auth-clients": "no"}, {"tls-auth-clients": "yes"}


@dataclass(frozen=True)
class Files:
    """Certificates of several authorities, which know nothing of each other."""

    ours: RedisTls
    strangers: RedisTls
    elsewhere: RedisTls
    """For another host name."""
    expired: RedisTls


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folders = [tmp_path_factory.mktemp("tls") for _ in range(4)]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return Files(
        RedisTls.made_in(folders[0]),
        RedisTls.made_in(folders[1]),
        RedisTls.made_in(folders[2], "redis.example.org"),
        RedisTls.made_in(folders[3], not_after=yesterday),
    )


def place_of(server: RedisServer) -> dict[str, Any]:
    return {"host": server.host, "port": server.port}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def free(files: Files) -> AsyncIterator[dict[str, Any]]:
    """Start a server that takes any client, and say where it is."""
    async with RedisServer(files.ours.server_options | FREE) as server:
        yield place_of(server)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(files: Files) -> AsyncIterator[dict[str, Any]]:
    """Start a server that demands client certificates."""
    async with RedisServer(files.ours.server_options | STRICT) as server:
        yield place_of(server)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict_cluster(files: Files) -> AsyncIterator[dict[str, Any]]:
    """Start a cluster that demands client certificates."""
    async with RedisCluster(options=files.ours.server_options | {"tls-cluster": "yes"} | STRICT) as cluster:
        yield {"deployment_mode": "cluster", "endpoints": cluster.endpoints}


@pytest.fixture
def strict_place(mode: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    place: dict[str, Any] = request.getfixturevalue("strict" if mode == "standard" else "strict_cluster")
    return place


def url_of(place: dict[str, Any]) -> dict[str, Any]:
    """Say the same in a URL: of the one server, or of the cluster's first node."""
    host, _, port = place.get("endpoints", [f"{place.get('host')}:{place.get('port')}"])[0].partition(":")
    rest = {name: value for name, value in place.items() if name == "deployment_mode"}
    return {"host": f"rediss://{host}:{port}", **rest}


# --- who is let in ---------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(rabbitmq: RabbitMQ, namespace: str, start_daemon: DaemonMaker) -> Any:
    """Have a daemon serve a request, with these options of the section."""

    async def serve_one(kind: str, **options: Any) -> None:
        store = {"type": kind, "key_prefix": namespace, **options}
        await start_daemon({"lock_store": store, "broker": {"url": rabbitmq.url, "namespace": namespace}})
        async with Bot(rabbitmq.url, namespace) as bot:
            await bot.lock("c")

    return serve_one


@pytest.mark.parametrize("kind", ["concurrent_redis", "redis"])
async def test_the_daemon_speaks_tls_by_an_option(kind: str, serve: Any, free: dict[str, Any], files: Files) -> None:
    await serve(kind, **free, **files.ours.section)


async def test_the_daemon_speaks_tls_by_a_url(serve: Any, free: dict[str, Any], files: Files) -> None:
    await serve("concurrent_redis", **url_of(free), ssl_ca_certs=files.ours.section["ssl_ca_certs"])


@pytest.mark.parametrize("mode", MODES)
async def test_the_daemon_shows_a_certificate(serve: Any, strict_place: dict[str, Any], files: Files) -> None:
    await serve("concurrent_redis", **strict_place, **files.ours.section, **files.ours.shown)


async def test_the_daemon_finds_a_cluster_by_a_url(serve: Any, strict_cluster: dict[str, Any], files: Files) -> None:
    trust = {"ssl_ca_certs": files.ours.section["ssl_ca_certs"]}
    await serve("redis", **url_of(strict_cluster), **trust, **files.ours.shown)


# --- who is not, and what is said then -------------------------------------------------------------------------------


def told_by(section: dict[str, Any], folder: Path) -> str:
    """Run a daemon that ends with exit code 2, and give why."""
    ended = run_serve({"lock_store": {"type": "concurrent_redis", **section}}, folder)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_a_stranger_vouches_for_stops_the_start(
    strict_place: dict[str, Any], files: Files, tmp_path: Path
) -> None:
    told = told_by({**strict_place, **files.strangers.section, **files.ours.shown}, tmp_path)
    assert "lock_store.ssl_ca_certs: the server's certificate is not trusted: self-signed certificate" in told
    assert "set it to the file of the CA that signed the certificate" in told


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_demands_a_certificate_stops_the_start_without_one(
    strict_place: dict[str, Any], files: Files, tmp_path: Path
) -> None:
    told = told_by({**strict_place, **files.ours.section}, tmp_path)
    assert "lock_store.ssl_certfile: the server requires a client certificate; set it to the certificate's file" in told


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_does_not_trust_our_certificate_stops_the_start(
    strict_place: dict[str, Any], files: Files, tmp_path: Path
) -> None:
    told = told_by({**strict_place, **files.ours.section, **files.strangers.shown}, tmp_path)
    assert "lock_store.ssl_certfile: the server rejects the client certificate: unknown CA" in told


@asynccontextmanager
async def served_by(tls: RedisTls, mode: str, **options: str) -> AsyncIterator[dict[str, Any]]:
    """Start a server that is a cluster by itself, or none; what is wrong is wrong before anybody asks for slots."""
    of_cluster = {"cluster-enabled": "yes", "tls-cluster": "yes"} if mode == "cluster" else {}
    async with RedisServer(tls.server_options | of_cluster | FREE | options) as server:
        yield {"deployment_mode": mode, **place_of(server)}


@pytest.mark.parametrize("mode", MODES)
async def test_a_server_of_another_name_stops_the_start(mode: str, files: Files, tmp_path: Path) -> None:
    async with served_by(files.elsewhere, mode) as place:
        told = told_by({**place, **files.elsewhere.section}, tmp_path)
    assert "lock_store.host: the server's certificate is issued for another name: IP address mismatch" in told
    assert "not valid for '127.0.0.1'; connect by a name in the certificate" in told


async def test_a_host_name_is_looked_for_in_the_certificate(files: Files, tmp_path: Path) -> None:
    async with served_by(files.elsewhere, "standard") as place:
        told = told_by({**place, "host": "localhost", **files.elsewhere.section}, tmp_path)
    assert "issued for another name: Hostname mismatch, certificate is not valid for 'localhost'" in told


async def test_a_certificate_whose_time_is_over_stops_the_start(files: Files, tmp_path: Path) -> None:
    async with served_by(files.expired, "standard") as place:
        told = told_by({**place, **files.expired.section}, tmp_path)
    assert "the server's certificate is expired or not yet valid: certificate has expired; renew it" in told


async def test_a_server_with_old_tls_cannot_say_that_it_demands_a_certificate(files: Files, tmp_path: Path) -> None:
    async with served_by(files.ours, "standard", **STRICT, **{"tls-protocols": "TLSv1.2"}) as place:
        told = told_by({**place, **files.ours.section}, tmp_path)
    assert "lock_store.ssl_certfile: the server aborted the TLS handshake; it may require a client certificate" in told


def test_a_file_that_is_no_certificate_stops_the_start(free: dict[str, Any], files: Files, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    told = told_by({**free, "use_ssl": True, "ssl_ca_certs": str(tmp_path / "ca.pem")}, tmp_path)
    assert "lock_store.ssl_ca_certs, ssl_certfile, ssl_keyfile: cannot be loaded" in told


# --- what cannot be told from a server that is away: the daemon goes on trying, and says what to look at ---------------


async def told_at_the_opening(section: dict[str, Any]) -> str:
    store = create_store({"type": "concurrent_redis", "socket_timeout": 0.5, **section}, Limits())
    try:
        with pytest.raises(StoreUnavailableError) as caught:
            await store.open()
    finally:
        await store.close()
    return str(caught.value)


@pytest.mark.parametrize("mode", MODES)
async def test_plain_text_to_a_server_that_wants_tls(mode: str, strict_place: dict[str, Any]) -> None:
    told = await told_at_the_opening(strict_place)
    assert "the server closed the connection at once: it may want TLS (use_ssl)" in told


@pytest.mark.parametrize("mode", MODES)
async def test_plain_text_to_a_proxy_that_wants_tls_and_hangs_up_politely(mode: str) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        told = await told_at_the_opening({"deployment_mode": mode, "host": "127.0.0.1", "port": port})
    assert "the server closed the connection at once: it may want TLS (use_ssl)" in told


@pytest.mark.parametrize("mode", MODES)
async def test_tls_to_a_server_without(mode: str, files: Files) -> None:
    of_cluster = {"cluster-enabled": "yes"} if mode == "cluster" else {}
    async with RedisServer(of_cluster) as server:
        told = await told_at_the_opening({"deployment_mode": mode, **place_of(server), **files.ours.section})
    assert "with use_ssl, this may be a server without TLS" in told


async def test_a_certificate_that_was_replaced_later_makes_the_store_unavailable(files: Files, tmp_path: Path) -> None:
    async with RedisServer(files.ours.server_options | FREE) as server:
        store = create_store({"type": "concurrent_redis", **place_of(server), **files.ours.section}, Limits())
        await store.open()
        lines = files.strangers.server_options.items()
        await server.admin("CONFIG", "SET", *(word for line in lines if line[0].endswith("-file") for word in line))
        await server.admin("CLIENT", "KILL", "TYPE", "normal")
        with suppress(StoreUnavailableError):
            await store.issue_ticket("c")  # may only find that its connection is gone
        with pytest.raises(StoreUnavailableError, match=r"certificate is not trusted: .*; set it to the file"):
            await store.issue_ticket("c")
        with pytest.raises(ConfigError):
            await store.open()
        await store.close()


def test_errors_that_are_each_others_cause_have_an_end() -> None:
    outer, inner = ConnectionError("outer"), OSError("inner")
    outer.__cause__, inner.__context__ = inner, outer
    assert list(causes(outer)) == [outer, inner]
    assert certificate_fault(outer) is None
