import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from harness import ProcessFailedError, RedisServer
from tests.harness.helpers import is_alive


async def test_a_restart_keeps_the_data_and_the_end_leaves_nothing() -> None:
    async with RedisServer() as server, Redis(host=server.host, port=server.port) as client:
        await client.set("key", "value")
        await server.restart()
        assert await client.get("key") == b"value"
        pid, folder = server.pid, server.folder
        assert server.resident_bytes > 1_000_000
    assert server.exit_code == 0
    assert not is_alive(pid)
    assert not folder.exists()


async def test_without_persistence_a_restart_forgets() -> None:
    async with RedisServer(persistence="no") as server, Redis(host=server.host, port=server.port) as client:
        await client.set("key", "value")
        await server.restart()
        assert await client.get("key") is None


async def test_a_write_that_was_synced_survives_a_kill() -> None:
    async with RedisServer(persistence="always") as server, Redis(host=server.host, port=server.port) as client:
        await client.set("key", "value")
        assert await server.kill() == -9
        assert not server.running
        await server.start()
        assert await client.get("key") == b"value"


async def test_a_paused_server_does_not_answer_until_it_goes_on() -> None:
    async with RedisServer() as server, Redis(host=server.host, port=server.port) as client:
        await client.set("key", "value")
        server.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.get("key")
        server.resume()
        assert await client.get("key") == b"value"


async def test_options_reach_the_server() -> None:
    async with RedisServer({"requirepass": "a-password", "maxmemory": "20mb"}) as server:
        async with Redis(host=server.host, port=server.port, retry=Retry(NoBackoff(), 0)) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
        async with Redis(host=server.host, port=server.port, password="a-password") as client:
            assert await client.config_get("maxmemory") == {"maxmemory": "20971520"}


async def test_a_bad_option_is_told_and_nothing_is_left() -> None:
    server = RedisServer({"no-such-option": "yes"})
    with pytest.raises(ProcessFailedError, match="no-such-option"):
        async with server:
            pass
    assert not server.running
    assert not server.log.exists()
    await server.close()  # asking for its log made a new folder


async def test_a_folder_of_the_callers_stays(tmp_path: Path) -> None:
    async with RedisServer(folder=tmp_path / "redis") as server, Redis(host=server.host, port=server.port) as client:
        await client.set("key", "value")
    async with RedisServer(folder=tmp_path / "redis") as server, Redis(host=server.host, port=server.port) as client:
        assert await client.get("key") == b"value"
