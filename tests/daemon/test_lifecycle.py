"""Start, stop, stand by, and refuse to start."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import DEBUG, DaemonProcess, RabbitMQ, RedisServer
from tests.conftest import DaemonMaker
from tests.support.bot import Bot
from tests.support.public import Public
from tests.support.serve import run_serve

CONVERSATIONS = 50


async def publish_many(bot: Bot, count: int) -> dict[str, list[str]]:
    """Publish requests on one channel, and give each conversation's request ids in the order of publishing."""
    published: dict[str, list[str]] = {f"c{place}": [] for place in range(CONVERSATIONS)}
    sending = []
    for place in range(count):
        conversation, request_id = f"c{place % CONVERSATIONS}", f"r{place}"
        published[conversation].append(request_id)
        sending.append(bot.request(conversation, request_id, wait=600, lifetime=600))
    await asyncio.gather(*sending)
    return published


async def numbers_by_request(bot: Bot, count: int) -> dict[str, int]:
    """Wait until every request has its number, granted or queued."""
    numbers: dict[str, int] = {}
    async with asyncio.timeout(30):
        while len(numbers) < count:
            numbers = {answer["request_id"]: answer["ticket_number"] for answer in bot.answers}
            await asyncio.sleep(0.05)
    return numbers


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_stopped_under_load_the_next_daemon_goes_on_in_order(
    how: str, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    first = await start_daemon(config)
    second = await start_daemon(config, argv=DEBUG)  # stands by
    publishing = asyncio.create_task(publish_many(bot, 3000))
    async with asyncio.timeout(20):
        while len(bot.answers) < 200:
            await asyncio.sleep(0.005)
    await (first.stop() if how == "stop" else first.kill())
    published = await publishing
    numbers = await numbers_by_request(bot, 3000)
    for conversation, request_ids in published.items():
        got = [numbers[request_id] for request_id in request_ids]
        assert got == list(range(1, len(got) + 1)), f"{conversation}: not in the order of publishing"
    assert second.events("batch.served"), "the first daemon served everything: the test showed nothing"
    if how == "stop":
        assert first.exit_code == 0
        assert first.events("daemon.stopped")


async def test_a_store_that_is_away_at_the_start_is_waited_for(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    async with RedisServer() as late:
        config["lock_store"]["port"] = late.port
        await late.stop()
        starting = asyncio.create_task(start_daemon(config))
        await asyncio.sleep(1)
        assert not starting.done()
        await late.start()
        await starting
        await bot.lock("c")


async def test_what_stands_on_the_broker_with_other_settings_stops_the_start(
    config: dict[str, Any], start_daemon: DaemonMaker, tmp_path: Path
) -> None:
    await (await start_daemon(config)).stop()
    config["broker"]["delivery_limit"] = 7
    refused = run_serve(config, tmp_path)
    assert refused.returncode == 2
    assert "was declared with other settings" in refused.stderr


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"daemon": {"lifetme": 3}}, "daemon.lifetme"),
        ({"daemon": {"lifetime": 0}}, "daemon.lifetime"),
        ({"daemon": {"lifetime": 5000}}, "daemon.lifetime"),
        ({"broker": {"url": "http://localhost"}}, "broker.url"),
        ({"broker": {"url": "amqp://"}}, "broker.url"),
        ({"broker": {"url": "amqp://localhost:99999/"}}, "broker.url"),
        ({"broker": {"namespace": "a/b"}}, "broker.namespace: must be 1 to 64 letters"),
        ({"broker": {"ssl_ca_certs": "/no/such/file"}}, "/no/such/file"),
        ({"broker": {"ssl_ca_certs": __file__}}, "broker: ssl_ca_certs: given, but the connection is not encrypted"),
        ({"broker": {"url": "amqps://h/", "ssl_keyfile": __file__}}, "ssl_keyfile: a key without ssl_certfile"),
        ({"lock_store": {"type": "redis", "ssl_ca_certs": __file__}}, "ssl_ca_certs: given, but the connection is not"),
        ({"lock_store": {"type": "redis", "use_ssl": True, "ssl_ca_certs": __file__}}, "cannot be loaded"),
        ({"lock_store": {"type": "redis", "host": "redis://h?db=3", "db": 2}}, "db: given here and, differently, in"),
        ({"broker": {"url": "${NOT_SET_ANYWHERE}"}}, "NOT_SET_ANYWHERE"),
        ({"broker": 3}, "broker"),
        ({"lock_store": {"type": "concurrent_redis", "key_prefix": "a-b"}}, "lock_store.key_prefix"),
        ({"lock_store": {"type": "reids"}}, "lock_store.type"),
        ({"lock_store": {"type": "redis", "prot": 3}}, "lock_store.prot"),
        ({"lock_store": {"type": "no.such.Store"}}, "no.such"),
    ],
)
def test_bad_configuration_stops_the_start_and_names_the_field(
    change: dict[str, Any], field: str, tmp_path: Path
) -> None:
    refused = run_serve(change, tmp_path)
    assert refused.returncode == 2
    assert field in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unreadable_file_stops_the_start(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "daemon", "serve", "--config", str(tmp_path / "nowhere.yml")]
    refused = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "cannot be read" in refused.stderr


async def test_no_secret_is_logged(
    rabbitmq: RabbitMQ, redis_server: RedisServer, config: dict[str, Any], start_daemon: DaemonMaker
) -> None:
    config["broker"]["url"] = rabbitmq.url.replace("guest:guest@", "guest:not-the-password@")
    daemon = DaemonProcess(config, argv=("--log-level", "debug"))
    starting = asyncio.create_task(daemon.start())
    try:
        async with asyncio.timeout(20):
            while not daemon.events("broker.lost"):
                await asyncio.sleep(0.05)
        assert "not-the-password" not in daemon.log.read_text()
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await daemon.close()


async def test_events_can_be_turned_off(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str
) -> None:
    config["daemon"]["events"] = False
    await start_daemon(config)
    async with Public(rabbitmq.url, namespace) as public:
        granted = await bot.lock("c")
        await bot.release("c", ticket_number=granted["ticket_number"])
        await bot.expect("released")
        assert public.events == {}


async def test_an_in_memory_store_beside_another_daemon_is_warned_of(
    config: dict[str, Any], start_daemon: DaemonMaker
) -> None:
    config["lock_store"] = {"type": "in_memory"}
    first = await start_daemon(config)
    second = await start_daemon(config)
    assert not first.events("store.warning")
    assert "another daemon serves this namespace" in second.events("store.warning")[0]["warning"]


@pytest.mark.parametrize("kind", ["redis", "concurrent_redis"])
async def test_a_redis_that_evicts_keys_is_warned_of(
    kind: str, config: dict[str, Any], start_daemon: DaemonMaker
) -> None:
    async with RedisServer({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as evicting:
        config["lock_store"] |= {"type": kind, "port": evicting.port}
        daemon = await start_daemon(config)
        assert "maxmemory-policy allkeys-lru" in daemon.events("store.warning")[0]["warning"]


async def test_a_stop_does_not_wait_for_a_broker_that_says_nothing(tmp_path: Path) -> None:
    connected = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    file = tmp_path / "endpoints.yml"
    file.write_text(yaml.safe_dump({"broker": {"url": f"amqp://127.0.0.1:{port}/"}, "daemon": {"http": None}}))
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-m", "daemon", "serve", "--config", str(file))
    async with asyncio.timeout(30):
        await connected.wait()
    daemon.terminate()
    async with asyncio.timeout(10):  # far less than it would wait for an answer
        assert await daemon.wait() == 0
    server.close()
