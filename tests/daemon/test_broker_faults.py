"""Each way in which RabbitMQ, or what stands in its place, refuses or ends a connection: one clear sentence, everywhere."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr

from daemon.broker.connection import CONNECTION_ERRORS, address_of, connect, raise_when_closed, say_what_ended
from daemon.config.settings import BrokerSettings
from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.amqp.address import BROKER
from lockstore.amqp.errors import broker_errors
from lockstore.amqp.hosts import BrokerHosts
from lockstore.client import LockClient
from lockstore.client.connection import open_connection, translate_error
from lockstore.errors import BrokerLostError, LockError
from lockstore.protocol.naming import Names
from tests.support.proxy import Proxy
from tests.support.serve import run_serve


class Account:
    """A user and a virtual host of one test's own."""

    def __init__(self, node: RabbitMQ, name: str) -> None:
        self.node, self.name = node, name

    def url(self, password: str = "p", vhost: str | None = None) -> str:
        return f"amqp://{self.name}:{password}@{self.node.host}:{self.node.port}/{vhost or self.name}"

    async def ctl(self, *argv: str) -> None:
        await self.node.ctl(*(word.replace("NAME", self.name) for word in argv))


@pytest_asyncio.fixture
async def account(rabbitmq: RabbitMQ, tmp_path: Path) -> Account:
    made = Account(rabbitmq, f"n{uuid.uuid4().hex[:8]}")
    rights = dict.fromkeys(("configure", "write", "read"), ".*")
    all_in_one = {  # each rabbitmqctl takes a second
        "users": [{"name": made.name, "password": "p", "tags": ""}],
        "vhosts": [{"name": made.name}],
        "permissions": [{"user": made.name, "vhost": made.name, **rights}],
    }
    (tmp_path / "definitions.json").write_text(json.dumps(all_in_one))
    await made.ctl("import_definitions", str(tmp_path / "definitions.json"))
    return made


async def said_by_daemon(url: str) -> str:
    broker = BrokerSettings(url=SecretStr(url))
    with pytest.raises(CONNECTION_ERRORS) as caught:
        async with connect(broker):
            pass
    return say_what_ended(caught.value, address_of(broker))


async def said_by_client(url: str) -> str:
    with pytest.raises(BrokerLostError) as caught:
        async with open_connection(1, BrokerHosts(url), Names("n"), lambda _: None):
            pass
    return str(caught.value)


REFUSALS = [
    ((), {"vhost": "nowhere"}, "the virtual host nowhere does not exist"),
    ((), {"password": "x"}, "RabbitMQ rejected the credentials of user NAME"),
    (("clear_permissions", "-p", "NAME", "NAME"), {}, "user NAME has no access to the virtual host NAME"),
    (("set_vhost_limits", "-p", "NAME", '{"max-connections": 0}'), {}, "because a limit is reached: access to vhost"),
    (("set_user_limits", "NAME", '{"max-connections": 0}'), {}, "because a limit is reached: connection refused"),
    (("delete_user", "NAME"), {}, "RabbitMQ rejected the credentials of user NAME"),
    (("delete_vhost", "NAME"), {}, "the virtual host NAME does not exist"),
]


@pytest.mark.parametrize(("command", "changed", "sentence"), REFUSALS)
async def test_a_refused_connection_says_why_in_the_brokers_terms(
    command: tuple[str, ...], changed: dict[str, str], sentence: str, account: Account
) -> None:
    if command:
        await account.ctl(*command)
    wanted = sentence.replace("NAME", account.name)
    assert wanted in await said_by_daemon(account.url(**changed))
    assert wanted in await said_by_client(account.url(**changed))


ENDS = [
    (("delete_user", "NAME"), "its user NAME was deleted"),
    (("delete_vhost", "NAME"), "the virtual host NAME was deleted"),
    (("close_all_connections", "-p", "NAME", "tea time"), "RabbitMQ closed the connection: tea time"),
]


@pytest.mark.parametrize(("command", "sentence"), ENDS)
async def test_a_connection_that_is_ended_says_who_ended_it(
    command: tuple[str, ...], sentence: str, account: Account
) -> None:
    broker = BrokerSettings(url=SecretStr(account.url()))
    async with connect(broker) as connection:
        ending = asyncio.create_task(raise_when_closed(connection))
        await asyncio.sleep(0)
        await account.ctl(*command)
        with pytest.raises(BrokerLostError) as caught:
            async with asyncio.timeout(20):
                await ending
    assert sentence.replace("NAME", account.name) in say_what_ended(caught.value)


async def test_one_channel_too_many_says_that_it_is_a_limit(account: Account) -> None:
    await account.ctl("set_user_limits", "NAME", '{"max-channels": 1}')
    broker = BrokerSettings(url=SecretStr(account.url()))
    with pytest.raises(CONNECTION_ERRORS) as caught:
        async with connect(broker) as connection:
            for _ in range(2):
                await connection.channel()
    assert "a limit is reached: number of channels" in say_what_ended(caught.value)


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[int]:
    """Listen, answer whoever comes with these bytes, and hang up; with nothing to say, stay silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        if not answer:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "does not speak AMQP 0-9-1"),
        (b"-ERR unknown command 'AMQP'\r\n", "does not speak AMQP 0-9-1"),
        (b"AMQP\0\1\0\0", "does not speak AMQP 0-9-1"),
        (bytes([21, 3, 3, 0, 2, 2, 70]), "accepts only TLS"),
        (b"", "no answer from"),
    ],
)
async def test_what_is_not_amqp_is_called_so(answer: bytes, sentence: str) -> None:
    async with stranger(answer) as port:
        url = f"amqp://guest:guest@127.0.0.1:{port}/"
        for said in (await said_by_daemon(url), await said_by_client(url)):
            assert sentence in said
            assert f"127.0.0.1:{port}" in said


async def test_addresses_where_nothing_is_are_told_apart(rabbitmq: RabbitMQ, redis_server: RedisServer) -> None:
    assert "the host no-such-host.invalid is unknown" in await said_by_client("amqp://no-such-host.invalid/")
    assert "nothing listens at 127.0.0.1:1: connection refused" in await said_by_daemon("amqp://127.0.0.1:1/")
    tls = f"amqps://guest:guest@{rabbitmq.host}:{rabbitmq.port}/"
    assert "does not speak TLS" in await said_by_daemon(tls)
    assert "does not speak TLS" in await said_by_client(tls)
    assert "no answer from" in await said_by_daemon(f"amqp://{redis_server.host}:{redis_server.port}/")


async def test_a_missed_heartbeat_is_called_so(rabbitmq: RabbitMQ) -> None:
    async with Proxy(rabbitmq.host, rabbitmq.port) as wire:
        broker = BrokerSettings(url=SecretStr(wire.url), heartbeat=1)
        async with connect(broker) as connection:
            wire.answers.hold()
            with pytest.raises(BrokerLostError) as caught:
                async with asyncio.timeout(60):
                    await raise_when_closed(connection)
            wire.answers.release()
    assert "timed out (missed heartbeats)" in str(caught.value)


async def test_a_programming_error_is_no_lost_connection() -> None:
    for context in (translate_error(), broker_errors(BROKER)):
        with pytest.raises(AttributeError), context:
            raise AttributeError("a bug")
    with pytest.raises(BrokerLostError), translate_error():
        raise ConnectionResetError


async def test_a_wrong_virtual_host_is_told_in_the_log_on_readyz_by_the_commands_and_by_the_client(
    rabbitmq: RabbitMQ, config: dict[str, Any], tmp_path: Path
) -> None:
    url = f"{rabbitmq.url}nowhere"
    config["broker"]["url"], config["daemon"]["http"] = url, "127.0.0.1:0"
    daemon = DaemonProcess(config)
    starting = asyncio.create_task(daemon.start())
    sentence = "the virtual host nowhere does not exist"
    try:
        async with asyncio.timeout(20):
            while not daemon.events("broker.lost"):
                await asyncio.sleep(0.05)
        assert daemon.events("broker.lost")[0]["error"] == sentence
        async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}readyz") as answer:
            reasons = {reason["reason"]: reason["detail"] for reason in (await answer.json())["reasons"]}
        assert reasons["broker_away"] == sentence
        for command in ("check", "status"):
            told_by = await asyncio.to_thread(run_serve, config, tmp_path, command)
            assert told_by.returncode == 1
            assert sentence in " ".join((told_by.stdout + told_by.stderr).split())
        async with LockClient(url) as locks:
            with pytest.raises(LockError, match=sentence):
                async with locks.lock("c", wait=1):
                    pass
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await daemon.close()
