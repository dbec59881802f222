from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel

from harness import ProcessFailedError, RedisSentinels, Watch, workplace
from tests.harness.helpers import is_alive, pids_in
from tests.support.redis_tls import RedisTls


def ask(sentinels: RedisSentinels, **options: object) -> Sentinel:
    """Make redis-py's client of the Sentinels; `options` are how to come in there."""
    places = [(endpoint.split(":")[0], int(endpoint.split(":")[1])) for endpoint in sentinels.endpoints]
    return Sentinel(places, sentinel_kwargs=options)  # type: ignore[no-untyped-call]


async def where(sentinels: RedisSentinels) -> int:
    """Ask as a client does for the port of the primary."""
    client = ask(sentinels)
    try:
        _, port = await client.discover_master(sentinels.service)
        return int(port)
    finally:
        for sentinel in client.sentinels:
            await sentinel.aclose()


async def test_all_know_each_other_and_the_end_leaves_nothing() -> None:
    async with RedisSentinels(watch=Watch(service="locks")) as sentinels:
        primary, (replica,) = await sentinels.primary(), await sentinels.replicas()
        assert [primary, replica] == sentinels.servers
        assert await where(sentinels) == primary.port
        for sentinel in sentinels.sentinels:
            assert "OK 3 usable Sentinels" in await sentinel.admin("SENTINEL", "CKQUORUM", "locks")
        async with Redis(host=primary.host, port=primary.port) as client:
            await client.set("key", "value")
            assert await client.wait(1, 10_000) == 1
        assert await replica.admin("GET", "key") == "value"
        pids, folder = [member.pid for member in sentinels.members], sentinels.folder
        assert pids_in(folder) == set(pids)
        assert len(pids) == 5
    assert not any(is_alive(pid) for pid in pids)
    assert not folder.exists()


@pytest.mark.slow
async def test_a_replica_becomes_the_primary_and_a_restart_keeps_the_roles() -> None:
    async with RedisSentinels() as sentinels:
        old, (replica,) = await sentinels.primary(), await sentinels.replicas()
        await old.admin("SET", "key", "value")
        assert await old.admin("WAIT", 1, 10_000) == 1

        await old.kill()
        await sentinels.settle()
        assert await sentinels.primary() is replica
        assert await where(sentinels) == replica.port
        assert await replica.admin("GET", "key") == "value"

        await replica.admin("SET", "key", "newer")
        await old.start()
        await sentinels.settle()
        assert await sentinels.replicas() == [old]
        assert await old.admin("GET", "key") == "newer"

        await sentinels.stop()
        assert not any(member.running for member in sentinels.members)
        await sentinels.start()
        assert await sentinels.primary() is replica
        assert (await old.replication())["role"] == "slave"
        assert await old.admin("GET", "key") == "newer"


@pytest.mark.slow
async def test_a_primary_that_was_paused_comes_back_as_a_replica() -> None:
    async with RedisSentinels(2) as sentinels:
        primary = await sentinels.primary()
        primary.pause()
        sentinels.sentinels[0].pause()  # two of three are enough
        await sentinels.settle()
        assert await sentinels.primary() is not primary
        primary.resume()
        sentinels.sentinels[0].resume()
        await sentinels.settle()
        assert primary in await sentinels.replicas()


async def test_a_sentinel_that_was_away_learns_the_rest_again() -> None:
    async with RedisSentinels() as sentinels:
        lost = sentinels.sentinels[0]
        await lost.kill()
        await sentinels.settle()
        assert await sentinels.primary() is sentinels.servers[0]
        await lost.start()
        await sentinels.settle()
        assert "OK 3 usable Sentinels" in await lost.admin("SENTINEL", "CKQUORUM", sentinels.service)


async def test_without_sentinels_nobody_knows_the_primary() -> None:
    async with RedisSentinels() as sentinels:
        for sentinel in sentinels.sentinels:
            await sentinel.kill()
        with pytest.raises(LookupError):
            await sentinels.primary()


async def test_tls_and_passwords_hold_among_all_of_them(tmp_path: Path) -> None:
    tls = RedisTls.made_in(tmp_path)
    options = tls.server_options | {"requirepass": "a-password", "masterauth": "a-password"}
    sentinel_options = tls.server_options | {"requirepass": "another"}
    async with RedisSentinels(options=options, sentinel_options=sentinel_options) as sentinels:
        client = ask(sentinels, password="another", **tls.client_options)
        _, port = await client.discover_master(sentinels.service)
        for one in client.sentinels:
            await one.aclose()
        old = await sentinels.primary()
        assert port == old.port
        async with Redis(host="127.0.0.1", port=port, password="a-password", **tls.client_options) as redis:
            assert await redis.ping()
        await old.kill()
        await sentinels.settle()
        assert await sentinels.primary() is not old


async def test_sentinels_come_in_as_the_user_that_replicas_come_in_as() -> None:
    options = {"user": "boss on >secret ~* &* +@all", "masteruser": "boss", "masterauth": "secret"}
    async with RedisSentinels(options=options) as sentinels:
        primary = await sentinels.primary()
        assert "user=boss" in await primary.admin("CLIENT", "LIST", "TYPE", "PUBSUB")


async def test_a_bad_option_is_told_and_nothing_is_left() -> None:
    sentinels = RedisSentinels(sentinel_options={"loglevel": "no-such-level"})
    folder = sentinels.folder
    with pytest.raises(ProcessFailedError, match="loglevel"):
        async with sentinels:
            pass
    assert not any(member.running for member in sentinels.members)
    assert not folder.exists()


async def test_a_workplace_has_one() -> None:
    async with workplace() as place:
        sentinels = await place.redis_sentinels()
        assert await place.redis_sentinels() is sentinels
        pids, folder = pids_in(place.folder), place.folder
        assert len(pids) == 5
    assert not any(is_alive(pid) for pid in pids)
    assert not folder.exists()
