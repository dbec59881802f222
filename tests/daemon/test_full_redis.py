"""A running daemon on a Redis that is full, and on keys that are damaged: what can go on does, and nobody else pays."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import redis

from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.client import LockClient
from lockstore.errors import RefusedError
from lockstore.stores.redis.keys import ConcurrentKeys
from tests.conftest import DaemonMaker, shared_config
from tests.support.bot import PATIENCE_S, Bot, dead_letters


@pytest_asyncio.fixture
async def own_redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    with redis.Redis(port=server.port) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


async def command(daemon: DaemonProcess, *argv: str) -> tuple[int, str]:
    """Run a command of the command line beside a daemon."""
    place = ("--config", str(daemon.config_file))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon", argv[0], *place, *argv[1:], stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_releases_expiries_and_looking_go_on_and_requests_wait_until_there_is_memory(
    rabbitmq: RabbitMQ, own_redis: RedisServer, namespace: str, start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(shared_config(rabbitmq, own_redis, namespace) | {"daemon": {"http": "127.0.0.1:0"}})
    async with LockClient(rabbitmq.url, namespace=namespace) as locks:

        async def take(name: str) -> int:
            async with locks.lock(name, wait=PATIENCE_S * 3) as ticket:
                return ticket.number

        held = await bot.lock("held", lifetime=600)
        behind = await bot.request("held", wait=600)
        await bot.expect("queued", request_id=behind)
        with full(own_redis):
            refused = await bot.request("new")
            assert (await bot.expect("rejected", request_id=refused))["reason"] == "store_full"
            with pytest.raises(RefusedError, match="store_full"):
                async with locks.lock("now or never", wait=0):
                    pass
            waiting = asyncio.create_task(take("patient"))
            await bot.say("renew", "held", ticket_number=held["ticket_number"], lifetime=1)
            await bot.expect("expired", ticket_number=held["ticket_number"])
            following = await bot.expect("granted", request_id=behind)
            code, shown = await command(daemon, "show", "held", "--json")
            tickets = json.loads(shown)["conversation"]["tickets"]
            assert (code, [item["ticket_number"] for item in tickets]) == (0, [following["ticket_number"]])
            code, said = await command(daemon, "status", "--json")
            assert json.loads(said)["lines"]["lines_total"] == 1
            await bot.release("held", ticket_number=following["ticket_number"])
            await bot.expect("released", ticket_number=following["ticket_number"])
            async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}readyz") as answer:
                assert answer.status == 200
            assert not waiting.done()
        assert await waiting == 1
        assert await bot.lock("new") is not None
    assert daemon.events("store.full")
    assert len(daemon.events("daemon.ready")) == 1


KEYS = ("last", "line", "tickets", "requests", "ended", "events", "deadlines", "outbox", "history", "lines", "waiting")
OF_THE_SHARD = KEYS[6:]


def in_shard(shard: int) -> Iterator[str]:
    """Name conversations of one shard."""
    return (name for name in map("c{}".format, count()) if ConcurrentKeys.shard_of(name) == shard)


async def test_a_damaged_key_costs_one_rejection_and_the_others_are_served(
    redis_server: RedisServer, config: dict[str, Any], namespace: str, start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config)
    pid = daemon.process.pid
    keys = ConcurrentKeys(namespace)
    names, elsewhere = in_shard(7), in_shard(8)
    with redis.Redis(port=redis_server.port, db=1) as client:  # Rasa's default, and so ours
        for place, kind in enumerate(KEYS):
            damaged, neighbour = next(names), next(names)
            key = keys.of_line(damaged, 7)[place]
            client.delete(key)
            client.lpush(key, "x") if kind not in ("ended", "events") else client.set(key, "x")
            ids = [await bot.request(damaged) for _ in range(2)]
            for name in ids:
                answer = await bot.expect("rejected", request_id=name)
                assert answer["reason"] == "invalid", kind
                assert "this conversation: its" in answer["detail"]
            if kind not in OF_THE_SHARD:
                await bot.lock(neighbour)  # of the same shard
            expiring = await bot.lock(next(elsewhere), lifetime=0.2)
            await bot.expect("expired", conversation_id=expiring["conversation_id"])
            client.delete(key)
            await bot.lock(damaged)
            told = [item["type"] for item in bot.answers if item["request_id"] in ids]
            assert told == ["rejected", "rejected"], kind
            for letter in await dead_letters(bot, 2):
                assert json.loads(letter.body)["conversation_id"] == damaged
    assert daemon.process.pid == pid
    assert len(daemon.events("daemon.ready")) == 1
