"""Each file of configs/ starts the real daemon on real servers, which serves a request.

A test takes the file as it is. It sets the environment variables that the file names, and replaces nothing but addresses:
`host`, `port` and `endpoints` of the lock store, `url` of the broker where that is no variable, and `http` of the daemon.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from harness import RabbitMQ, RedisCluster, RedisSentinels, RedisServer
from harness.ports import LOOPBACK, free_port
from tests.conftest import DaemonMaker
from tests.docs.pages import CHECKOUT, CONFIGS
from tests.support.bot import Bot
from tests.support.iam_server import ENVIRON, SERVER_OPTIONS, IamServer
from tests.support.redis_tls import RedisTls

PASSWORDS = {"requirepass": "of-redis", "masterauth": "of-redis"}
NAMESPACE = "lockstore"  # the default


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> RedisTls:
    # RabbitMQ takes no client certificate that is for an address alone.
    return RedisTls.made_in(tmp_path_factory.mktemp("certificates"), LOOPBACK, "daemon.example.org")


@pytest.fixture(scope="module")
def amqps_port() -> int:
    return free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_rabbitmq(tls: RedisTls, amqps_port: int) -> AsyncIterator[RabbitMQ]:
    """Start a RabbitMQ in which the default names are free, with TLS on a port of its own."""
    config = {
        "listeners.ssl.1": f"{LOOPBACK}:{amqps_port}",
        "ssl_options.cacertfile": str(tls.folder / "ca.pem"),
        "ssl_options.certfile": str(tls.folder / "cert.pem"),
        "ssl_options.keyfile": str(tls.folder / "key.pem"),
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
    }
    async with RabbitMQ(config) as node:
        yield node


def taken(name: str, environ: dict[str, str], **addresses: Any) -> dict[str, Any]:
    """Take a shipped file, put addresses into it, and see that its variables are those of the environment given."""
    text = (CHECKOUT / "configs" / name).read_text()
    config: dict[str, Any] = yaml.safe_load(text)
    named = set(re.findall(r"\$\{(\w+)\}", yaml.safe_dump(config)))
    assert named == environ.keys() - ENVIRON.keys() - {"SSL_CERT_FILE"}
    broker = addresses.pop("broker", None)
    assert addresses.keys() <= {"host", "port", "endpoints"}
    assert addresses.keys() <= config["lock_store"].keys()
    config["lock_store"] |= addresses
    if broker is not None:
        assert "$" not in config["broker"]["url"]
        config["broker"]["url"] = broker
    config.setdefault("daemon", {})["http"] = f"{LOOPBACK}:0"
    return config


async def see_a_grant(rabbitmq: RabbitMQ) -> None:
    async with Bot(rabbitmq.url, NAMESPACE) as bot:
        granted = await bot.lock("user-42")
        await bot.release("user-42", ticket_number=granted["ticket_number"])
        await bot.expect("released")


def test_every_file_has_its_test() -> None:
    assert {file.name for file in CONFIGS} == set(re.findall(r'"([\w-]+\.yml)"', Path(__file__).read_text()))


@pytest.mark.parametrize("name", ["standard.yml", "full.yml"])
async def test_one_server(name: str, own_rabbitmq: RabbitMQ, start_daemon: DaemonMaker) -> None:
    async with RedisServer() as server:
        await start_daemon(taken(name, {}, host=server.host, port=server.port, broker=own_rabbitmq.url))
        await see_a_grant(own_rabbitmq)


async def test_a_cluster(own_rabbitmq: RabbitMQ, start_daemon: DaemonMaker) -> None:
    environ = {"REDIS_PASSWORD": "of-redis", "BROKER_URL": own_rabbitmq.url}
    async with RedisCluster(options=PASSWORDS) as cluster:
        await start_daemon(taken("cluster.yml", environ, endpoints=cluster.endpoints), env=environ)
        await see_a_grant(own_rabbitmq)


async def test_sentinels(own_rabbitmq: RabbitMQ, start_daemon: DaemonMaker) -> None:
    environ = {
        "REDIS_PASSWORD": "of-redis",
        "SENTINEL_PASSWORD": "of-the-sentinels",
        "BROKER_URL": own_rabbitmq.url,
    }
    own = {"requirepass": "of-the-sentinels"}
    async with RedisSentinels(options=PASSWORDS, sentinel_options=own) as group:
        await start_daemon(taken("sentinel.yml", environ, endpoints=group.endpoints), env=environ)
        await see_a_grant(own_rabbitmq)


async def test_tls(own_rabbitmq: RabbitMQ, amqps_port: int, tls: RedisTls, start_daemon: DaemonMaker) -> None:
    environ = {
        "CERTIFICATES": str(tls.folder),
        "REDIS_PASSWORD": "of-redis",
        "BROKER_URL": f"amqps://guest:guest@{LOOPBACK}:{amqps_port}/",
    }
    async with RedisServer(tls.server_options | {"tls-auth-clients": "yes"} | PASSWORDS) as server:
        await start_daemon(taken("tls.yml", environ, host=server.host, port=server.port), env=environ)
        await see_a_grant(own_rabbitmq)


async def test_elasticache_with_iam(
    own_rabbitmq: RabbitMQ, tls: RedisTls, start_daemon: DaemonMaker, tmp_path: Path
) -> None:
    # AWS' part is played by tests/support/iam_server.py. The CA of these certificates becomes one that the system knows.
    environ = ENVIRON | {"BROKER_URL": own_rabbitmq.url, "SSL_CERT_FILE": str(tls.folder / "ca.pem")}
    options = tls.server_options | {"tls-auth-clients": "no"} | SERVER_OPTIONS
    async with RedisServer(options) as server, IamServer([server]) as iam:
        config = taken("elasticache-iam.yml", environ, host=server.host, port=server.port)
        await start_daemon(config, module="tests.support.iam_daemon", argv=(iam.path,), env=environ)
        await see_a_grant(own_rabbitmq)
        assert iam.tokens
        assert not iam.refused
