"""`lockstore purge` finds what a store left, shows it, deletes it when told to, and touches nothing else."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
from redis.cluster import ClusterNode

from harness import RedisCluster, RedisSentinels, RedisServer
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from lockstore.stores.redis.purge import Deleted, Found, Purge
from tests.migration.conftest import DATABASE, RunPurge, told
from tests.migration.leavings import (
    ODD_IDS,
    beside_rasas_locks,
    beside_the_concurrent_store,
    beside_the_redis_store,
    rasa_was_here,
    shot_of,
    used_store,
)
from tests.support.rasa import RasaProcess, rasas_value


async def neighbours(on_redis: dict[str, Any]) -> None:
    """Have other bots use the same database, each with both stores, under names that are a part of our keys' names."""
    for prefix in ("another", "lock", "lockstore", "last", "concurrent"):
        for kind in ("redis", "concurrent_redis"):
            await used_store(on_redis | {"type": kind, "key_prefix": prefix}, "x", "lock:x", "last:{0}:x")


def strangers(client: redis.Redis) -> None:
    """Write keys of other programs that look like those of our stores, with our prefix and without."""
    for prefix in ("", "mybot"):
        beside_rasas_locks(client, prefix)
        beside_the_redis_store(client, prefix)
        beside_the_concurrent_store(client, prefix)
    client.lock("lock:invoice", timeout=600).acquire()  # redis-py's own
    client.lock("lock:payment", timeout=600).acquire()


def counts(said: dict[str, Any]) -> dict[str, int]:
    return {kind: sample["count"] for kind, sample in said["kinds"].items()}


@pytest.mark.parametrize("key_prefix", [None, "mybot"])
async def test_all_of_the_redis_store_goes_and_every_other_key_stays_byte_for_byte(
    key_prefix: str | None, client: redis.Redis, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    own = on_redis | {"key_prefix": key_prefix}
    await neighbours(on_redis)
    await used_store(own | {"type": "concurrent_redis"}, "x", *ODD_IDS)
    before = shot_of(client).keys()
    await used_store(own | {"type": "redis"}, "held", "held too", "free")
    live = rasa_was_here(client, key_prefix or "")
    client.set(RedisKeys(key_prefix).mark_of("lock:x"), 1)
    ours = shot_of(client).keys() - before
    strangers(client)
    everything = shot_of(client)
    said = told(purge, own | {"type": "concurrent_redis"})
    lock = 2 + 4 + len(ODD_IDS)
    assert counts(said) == {"lock": lock, "last": 3, "memo": 3, "agenda": 1, "history": 1, "mark": 1}
    assert (said["keys"], said["live_tickets"], said["deleted"]) == (len(ours), 4 + live, 0)
    assert shot_of(client) == everything, "a look deletes nothing"
    said = told(purge, own | {"type": "concurrent_redis"}, "--yes")
    assert (said["deleted"], said["left"]["count"]) == (len(ours), 0)
    assert shot_of(client) == {key: shot for key, shot in everything.items() if key not in ours}
    assert told(purge, own | {"type": "concurrent_redis"}, "--yes")["keys"] == 0


@pytest.mark.parametrize("key_prefix", [None, "mybot"])
async def test_all_of_the_concurrent_store_goes_and_every_other_key_stays_byte_for_byte(
    key_prefix: str | None, client: redis.Redis, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    own = on_redis | {"key_prefix": key_prefix}
    await neighbours(on_redis)
    await used_store(own | {"type": "redis"}, "x", *ODD_IDS)
    rasa_was_here(client, key_prefix or "")
    before = shot_of(client).keys()
    await used_store(own | {"type": "concurrent_redis"}, "held", "held too", *ODD_IDS)
    client.set(ConcurrentKeys.mark_of(ConcurrentKeys(key_prefix).of_shard(5)[0]), 1)
    ours = shot_of(client).keys() - before
    strangers(client)
    everything = shot_of(client)
    said = told(purge, own | {"type": "redis"}, "--store", "concurrent_redis")
    found = counts(said)
    lines = 2 + len(ODD_IDS)
    assert {kind: found[kind] for kind in ("last", "line", "tickets", "events", "mark")} == {
        "last": lines,
        "line": 2,
        "tickets": lines,
        "events": lines,
        "mark": 1,
    }
    assert min(found["lines"], found["waiting"]) >= 1, "the index goes with the lines"
    assert (said["keys"], said["live_tickets"], said["deleted"]) == (len(ours), 4, 0)
    assert shot_of(client) == everything, "a look deletes nothing"
    said = told(purge, own | {"type": "redis"}, "--store", "concurrent_redis", "--yes")
    assert (said["deleted"], said["left"]["count"]) == (len(ours), 0)
    assert shot_of(client) == {key: shot for key, shot in everything.items() if key not in ours}


async def test_a_neighbour_in_another_database_stays(
    client: redis.Redis, redis_server: RedisServer, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    with redis.Redis(host=redis_server.host, port=redis_server.port, db=DATABASE + 1) as other:
        other.flushdb()
        for at in (on_redis, on_redis | {"db": DATABASE + 1}):
            await used_store(at | {"type": "redis"}, "x", "y", "z")
        before = shot_of(other)
        told(purge, on_redis | {"type": "concurrent_redis"}, "--yes")
        assert shot_of(client) == {}
        assert shot_of(other) == before
        other.flushdb()


async def test_in_a_cluster_it_goes_from_all_nodes(
    redis_cluster: RedisCluster, purge: RunPurge, namespace: str
) -> None:
    nodes = [ClusterNode(node.host, node.port) for node in redis_cluster.nodes]  # type: ignore[no-untyped-call]
    own = {"deployment_mode": "cluster", "endpoints": redis_cluster.endpoints, "key_prefix": namespace}
    with redis.RedisCluster(startup_nodes=nodes) as client:
        others = shot_of(client)
        try:
            await used_store(own | {"type": "concurrent_redis"}, "x", *ODD_IDS)
            before = shot_of(client).keys()
            await used_store(own | {"type": "redis"}, *ODD_IDS, *(f"c{number}" for number in range(200)))
            live = rasa_was_here(client, namespace)
            keys = RedisKeys(namespace, clustered=True)
            for conversation_id in ("c1", "c2"):
                client.set(keys.mark_of(keys.of(conversation_id).lock), 1)
            ours = shot_of(client).keys() - before
            beside_rasas_locks(client, namespace)
            beside_the_redis_store(client, namespace, clustered=True)
            everything = shot_of(client)
            said = told(purge, own | {"type": "concurrent_redis"}, "--yes")
            found = counts(said)
            assert found["slots"] == 1
            assert found["mark"] == 2
            assert found["agenda"] == found["history"] > 100
            assert (said["deleted"], said["live_tickets"]) == (len(ours), live)
            assert shot_of(client) == {key: shot for key, shot in everything.items() if key not in ours}
            said = told(purge, own | {"type": "redis"}, "--store", "concurrent_redis", "--yes")
            assert said["deleted"] > len(ODD_IDS)
        finally:
            for key in shot_of(client).keys() - others.keys():
                client.delete(key)
        assert shot_of(client).keys() == others.keys()


async def test_behind_sentinels_it_goes_from_the_primary(
    redis_sentinels: RedisSentinels, purge: RunPurge, namespace: str
) -> None:
    own = {
        "deployment_mode": "sentinel",
        "endpoints": redis_sentinels.endpoints,
        "sentinel_service": redis_sentinels.service,
        "key_prefix": namespace,
    }
    await used_store(own | {"type": "redis"}, "x", "y", "z")
    run = purge(own | {"type": "concurrent_redis"}, "--yes")
    assert f"{redis_sentinels.service}, found through 127.0.0.1:" in " ".join(run.stdout.split())
    assert run.returncode == 0
    assert told(purge, own | {"type": "concurrent_redis"})["keys"] == 0


async def test_marks_are_not_written_where_replicas_are_waited_for(
    client: redis.Redis, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    await used_store(on_redis | {"type": "redis"}, "x", "y")
    told(purge, on_redis | {"type": "concurrent_redis", "wait_replicas": 1}, "--yes")
    assert shot_of(client) == {}


def test_twenty_thousand_keys_are_gone_through_with_scan(
    client: redis.Redis, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    keys = RedisKeys()
    with client.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            last = keys.of(f"user-{number}").last
            pipe.set(last, number)
            pipe.set(f"session:{number}", "x")
        pipe.execute()
    client.config_resetstat()
    assert told(purge, on_redis | {"type": "concurrent_redis"})["keys"] == 10_000
    looked = set(client.info("commandstats"))
    assert not looked & {f"cmdstat_{name}" for name in ("keys", "unlink", "del", "evalsha", "eval", "set", "flushdb")}
    assert told(purge, on_redis | {"type": "concurrent_redis"}, "--yes")["deleted"] == 10_000
    used = client.info("commandstats")
    assert not used.keys() & {f"cmdstat_{name}" for name in ("keys", "del", "set", "flushdb", "flushall")}
    assert used["cmdstat_unlink"]["calls"] == 10_000
    assert used["cmdstat_scan"]["calls"] < 100
    assert client.dbsize() == 10_000


# --- what changes between the look and the deletion ---------------------------------------------------------------------


@pytest.fixture
async def work(on_redis: dict[str, Any], client: redis.Redis) -> AsyncIterator[Purge]:
    """Look at what the `redis` store left, in this process: so a test can come between the look and the deletion."""
    await used_store(on_redis | {"type": "redis"}, "held", "held too", "free")
    async with Purge(on_redis | {"type": "concurrent_redis"}, "redis", {}) as opened:
        yield opened


async def looked(work: Purge) -> Found:
    [*_, found] = [found async for found in work.look()]
    return found


async def deleted(work: Purge, found: Found) -> Deleted:
    [*_, done] = [done async for done in work.delete(found)]
    return done


OTHER = rasas_value("held", (0, 1795459434.5))
KEYS = RedisKeys()
CHANGES: dict[str, tuple[str, Callable[[redis.Redis], Any]]] = {
    "the lock belongs to another": ("held", lambda client: client.set("lock:held", OTHER)),
    "the lock is a hash": ("held", lambda client: (client.delete("lock:held"), client.hset("lock:held", "a", "b"))),
    "a lock is new": ("free", lambda client: client.set("lock:free", rasas_value("free", (8, 1795459434.5)))),
    "a number was issued": ("free", lambda client: client.incr(KEYS.of("free").last)),
    "a request has ended": ("held", lambda client: client.set(KEYS.of("held").memo, '{"ended": [1]}')),
}


@pytest.mark.parametrize(("conversation_id", "change"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_line_that_is_used_meanwhile_stays_whole_and_so_does_what_belongs_to_all(
    conversation_id: str, change: Callable[[redis.Redis], Any], client: redis.Redis, work: Purge
) -> None:
    found = await looked(work)
    change(client)
    before = shot_of(client)
    done = await deleted(work, found)
    line = {key.encode() for key in KEYS.of(conversation_id)}
    shared = {KEYS.agenda(0).encode(), KEYS.history(0).encode()}
    assert shot_of(client) == {key: shot for key, shot in before.items() if key in line | shared}
    assert done.keys == found.keys - done.left.count


async def test_what_has_gone_by_itself_meanwhile_is_no_change(client: redis.Redis, work: Purge) -> None:
    found = await looked(work)
    client.delete("lock:held", KEYS.of("held too").memo)
    done = await deleted(work, found)
    assert (done.keys, done.left.count) == (found.keys - 2, 0)
    assert shot_of(client) == {}


async def test_what_is_new_meanwhile_and_of_another_line_stays(client: redis.Redis, work: Purge) -> None:
    found = await looked(work)
    RasaProcess(client).put("new", (0, 1795459434.5))
    assert (await deleted(work, found)).left.count == 0
    assert shot_of(client).keys() == {b"lock:new"}


async def test_deleting_may_be_left_off_after_any_step(
    client: redis.Redis, work: Purge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockstore.stores.redis.purge._PARTS_AT_ONCE", 1)
    steps = work.delete(await looked(work))
    done = await anext(steps)
    await steps.aclose()
    assert done.keys in (2, 3)
    kept = {key.rpartition(b":")[2] for key in shot_of(client)} - {b"agenda", b"history"}
    assert len(kept) == 2, "one line has gone, and two are whole"
    assert (await deleted(work, await looked(work))).left.count == 0
    assert shot_of(client) == {}


async def test_a_store_in_use_is_told_by_the_exit_code_and_its_lock_stays(
    client: redis.Redis, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    await used_store(on_redis | {"type": "redis"}, *(f"c{number}" for number in range(300)))
    stop = threading.Event()

    def rasa_goes_on() -> None:
        with redis.Redis(host=on_redis["host"], port=on_redis["port"], db=DATABASE) as own:
            while not stop.is_set():
                RasaProcess(own).put("busy", (0, time.time() + 60))

    writer = threading.Thread(target=rasa_goes_on)
    writer.start()
    try:
        while not client.exists("lock:busy"):
            await asyncio.sleep(0.01)
        run = purge(on_redis | {"type": "concurrent_redis"}, "--yes")
    finally:
        stop.set()
        writer.join()
    assert run.returncode == 1
    assert "the store is still in use" in " ".join(run.stdout.split())
    assert "lock:busy" in run.stdout
    assert shot_of(client).keys() == {b"lock:busy", KEYS.agenda(0).encode(), KEYS.history(0).encode()}
