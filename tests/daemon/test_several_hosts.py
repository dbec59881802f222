"""Several hosts in `broker.url` and in the client's: each kind of absence costs no more than its own limit."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from daemon.broker.connection import connect
from daemon.config.settings import BrokerSettings
from harness import RabbitMQ
from lockstore.amqp.hosts import BrokerHosts
from lockstore.client import LockClient
from lockstore.client.connection import open_connection
from lockstore.protocol.naming import Names
from tests.conftest import DaemonMaker
from tests.support.proxy import Proxy
from tests.support.silent import dropping, mute, refusing

PATIENCE_S = 60


@pytest_asyncio.fixture
async def proxies(rabbitmq: RabbitMQ) -> AsyncIterator[list[Proxy]]:
    """Stand for two nodes of a cluster, one of them at an IPv6 address: both lead to the one broker."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Proxy(rabbitmq.host, rabbitmq.port, host)) for host in ("127.0.0.1", "::1")
        ]


def url_of(*places: str) -> str:
    return f"amqp://guest:guest@{','.join(places)}/"


async def take_a_lock(locks: LockClient, name: str) -> None:
    async with asyncio.timeout(PATIENCE_S), locks.lock(name, wait=PATIENCE_S):
        pass


async def test_a_daemon_and_a_client_go_on_at_another_node_when_theirs_is_gone(
    proxies: list[Proxy],
    config: dict[str, Any],
    namespace: str,
    start_daemon: DaemonMaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "lockstore")
    by_place = {proxy.place: proxy for proxy in proxies}
    with mute() as silent, dropping() as lost:
        url = url_of(silent, refusing(), *by_place, lost)
        config["broker"] |= {"url": url, "connect_timeout": 1}
        daemon = await start_daemon(config)
        async with LockClient(url, namespace=namespace, connect_timeout=1) as locks:
            await take_a_lock(locks, "before")
            for number in range(2):
                ready = daemon.events("daemon.ready")[-1]
                assert ready["node"] in by_place
                here = by_place[ready["node"]]
                here.block()
                await take_a_lock(locks, f"after {number}")
                here.unblock()
                lost_at = daemon.events("broker.lost")[number]
                assert lost_at["node"] == ready["node"]
                assert number or lost_at["again_in_s"] == 0  # the second connection has not lasted
                assert daemon.events("daemon.ready")[-1]["node"] != ready["node"]
    connected = daemon.events("broker.connected")
    assert [event["node"] for event in connected] == [event["node"] for event in daemon.events("daemon.ready")]
    assert {record.__dict__["node"] for record in caplog.records if "connected to" in record.message} <= by_place.keys()
    assert "guest:guest" not in daemon.log.read_text() + caplog.text


async def test_the_commands_work_with_several_hosts_and_say_which_one_they_use(
    proxies: list[Proxy], config: dict[str, Any], start_daemon: DaemonMaker
) -> None:
    nothing = refusing()
    places = [proxy.place for proxy in proxies]
    config["broker"] |= {"url": url_of(nothing, *places), "connect_timeout": 20}
    daemon = await start_daemon(config)

    async def output(command: str, *argv: str) -> str:
        line = [sys.executable, "-m", "daemon", command, *argv[:1], "--config", str(daemon.config_file), *argv[1:]]
        ran = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "guest:guest" not in ran.stdout + ran.stderr
        return ran.stdout

    steps = {step["name"]: step for step in json.loads(await output("check", "--json"))["steps"]}
    assert steps["RabbitMQ: connection"]["said"].partition(",")[0] in places
    hosts = steps["RabbitMQ: hosts"]
    assert hosts["result"] == "warn"
    assert "2 of 3 addresses" in hosts["said"]
    assert f"nothing listens at {nothing}" in hosts["said"]
    assert json.loads(await output("status", "--json"))["broker"] in places
    assert await output("exec", "c", "--", "echo", "held") == "held\n"


async def test_a_name_whose_first_address_is_silent_leads_to_the_next_one(
    rabbitmq: RabbitMQ, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, *args: Any, **options: Any) -> list[Any]:
        if host != "rabbit.test":
            return resolve(host, *args, **options)
        return [entry for ip in ("127.0.0.2", "127.0.0.1") for entry in resolve(ip, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    async with Proxy(rabbitmq.host, rabbitmq.port) as proxy:
        with socket.create_server(("127.0.0.2", proxy.port)):  # it takes connections, and says nothing
            url = url_of(f"rabbit.test:{proxy.port}")
            place = f"rabbit.test:{proxy.port} (127.0.0.1)"
            broker = BrokerSettings(url=SecretStr(url), connect_timeout=1)
            hosts = BrokerHosts(url, 1)
            names = Names(namespace)
            for number in range(4):
                async with connect(broker) as connection:
                    assert connection.endpoint.address.place == place
                async with asyncio.timeout(PATIENCE_S), open_connection(number, hosts, names, lambda _: None) as opened:
                    assert opened.node == place
                hosts.forget_failures()
