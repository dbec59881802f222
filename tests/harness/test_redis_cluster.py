from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.cluster import RedisCluster as Client

from harness import ProcessFailedError, RedisCluster, RedisServer, workplace
from harness.redis_cluster import KEYS_AT_ONCE, SLOTS
from tests.harness.helpers import is_alive, pids_in
from tests.support.redis_tls import RedisTls

KEYS = [f"{{one slot}}{number}" for number in range(2 * KEYS_AT_ONCE + 50)]


def client_of(cluster: RedisCluster, **options: Any) -> Client:
    node = cluster.nodes[-1]
    return Client(host=node.host, port=node.port, decode_responses=True, **options)


async def write_one_slot(client: Client) -> int:
    """Write all keys, whose values are their names, and give their slot."""
    await client.mset_nonatomic({key: key for key in KEYS})
    return int(client.keyslot(KEYS[0]))


async def keys_at(node: RedisServer) -> int:
    return int(await node.admin("DBSIZE"))


async def other_than(cluster: RedisCluster, node: RedisServer) -> RedisServer:
    owners = [await cluster.primary_of(slot) for slot in (0, SLOTS - 1)]
    return next(owner for owner in owners if owner is not node)


async def test_every_node_takes_part_and_the_end_leaves_nothing() -> None:
    async with RedisCluster() as cluster:
        for node in cluster.nodes:
            assert "cluster_state:ok" in await node.admin("CLUSTER", "INFO")
        assert {await cluster.primary_of(slot) for slot in (0, SLOTS // 2, SLOTS - 1)} == set(cluster.nodes)
        assert cluster.endpoints == [f"127.0.0.1:{node.port}" for node in cluster.nodes]
        with pytest.raises(LookupError):
            await cluster.replica_of(cluster.nodes[0])
        async with client_of(cluster) as client:
            await client.mset_nonatomic({str(number): number for number in range(100)})
        assert sum([await keys_at(node) for node in cluster.nodes]) == 100
        pids, folder = [node.pid for node in cluster.nodes], cluster.folder
        assert pids_in(folder) == set(pids)
    assert not any(is_alive(pid) for pid in pids)
    assert not folder.exists()


async def test_a_slot_moves_with_its_keys_while_clients_read_them() -> None:
    async with RedisCluster() as cluster, client_of(cluster) as client:
        slot = await write_one_slot(client)
        source = await cluster.primary_of(slot)
        target = await other_than(cluster, source)
        halves: list[tuple[int, int]] = []

        async def half_way() -> None:
            halves.append((await keys_at(source), await keys_at(target)))
            assert [await client.get(key) for key in KEYS] == KEYS  # by ASK, where they have gone

        await cluster.move_slot(slot, target, between=half_way)
        assert halves == [(len(KEYS) // 2, len(KEYS) // 2)]
        assert await cluster.primary_of(slot) is target
        assert (await keys_at(source), await keys_at(target)) == (0, len(KEYS))
        assert [await client.get(key) for key in KEYS] == KEYS  # by MOVED
        await cluster.settle()

        with pytest.raises(ValueError, match=f"slot {slot} is with"):
            await cluster.move_slot(slot, target)

        async def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await cluster.move_slot(slot, source, between=fail)
        assert await cluster.primary_of(slot) is source
        assert (await keys_at(source), await keys_at(target)) == (len(KEYS), 0)
        await cluster.settle()


async def test_a_stopped_cluster_goes_on_with_its_keys() -> None:
    async with RedisCluster() as cluster, client_of(cluster) as client:
        slot = await write_one_slot(client)
        owner = await cluster.primary_of(slot)
        await cluster.stop()
        assert not any(node.running for node in cluster.nodes)
        await cluster.start()
        assert await cluster.primary_of(slot) is owner
        assert await client.get(KEYS[0]) == KEYS[0]


async def test_a_folder_that_was_used_before_goes_on_with_other_ports(tmp_path: Path) -> None:
    async with RedisCluster(folder=tmp_path / "c") as cluster, client_of(cluster) as client:
        await write_one_slot(client)
        before = cluster.endpoints
    async with RedisCluster(folder=tmp_path / "c") as cluster, client_of(cluster) as client:
        assert set(before).isdisjoint(cluster.endpoints)
        assert await client.get(KEYS[0]) == KEYS[0]


@pytest.mark.slow
async def test_a_replica_takes_the_place_of_a_primary_that_is_killed() -> None:
    async with RedisCluster(replicas=1) as cluster, client_of(cluster) as client:
        slot = await write_one_slot(client)
        primary = await cluster.primary_of(slot)
        replica = await cluster.replica_of(primary)
        assert await keys_at(replica) == len(KEYS)

        await primary.kill()
        await cluster.settle()
        assert await cluster.primary_of(slot) is replica
        assert [await client.get(key) for key in KEYS] == KEYS

        await primary.start()
        await cluster.settle()
        assert await cluster.replica_of(replica) is primary
        await cluster.failover(primary)
        assert await cluster.primary_of(slot) is primary
        assert await cluster.replica_of(primary) is replica
        assert await keys_at(replica) == len(KEYS)


@pytest.mark.slow
async def test_a_primary_that_was_paused_comes_back_as_a_replica() -> None:
    async with RedisCluster(replicas=1, node_timeout_ms=1000) as cluster:
        primary = await cluster.primary_of(0)
        replica = await cluster.replica_of(primary)
        primary.pause()
        await cluster.settle()
        assert await cluster.primary_of(0) is replica
        primary.resume()
        await cluster.settle()
        assert await cluster.replica_of(replica) is primary


async def test_a_primary_without_a_replica_leaves_its_slots_without_a_node() -> None:
    async with RedisCluster() as cluster:
        await cluster.nodes[0].kill()
        with pytest.raises(LookupError):
            await cluster.primary_of(0)
        cluster.settle_limit_s = 0.1
        with pytest.raises(ProcessFailedError, match="owned by a node that is away"):
            await cluster.settle()


async def test_tls_and_a_password_hold_among_the_nodes_too(tmp_path: Path) -> None:
    tls = RedisTls.made_in(tmp_path)
    options = tls.server_options | {"tls-cluster": "yes", "requirepass": "a-password", "masterauth": "a-password"}
    async with (
        RedisCluster(2, 1, options=options) as cluster,
        client_of(cluster, password="a-password", **tls.client_options) as client,
    ):
        slot = await write_one_slot(client)
        source = await cluster.primary_of(slot)
        target = await other_than(cluster, source)
        await cluster.move_slot(slot, target)
        assert [await client.get(key) for key in KEYS] == KEYS
        assert await keys_at(target) == len(KEYS)
        await cluster.failover(await cluster.replica_of(target))
        assert await cluster.primary_of(slot) is not target


async def test_another_user_may_administer() -> None:
    options = {"user": "boss on >secret ~* &* +@all", "masteruser": "boss", "masterauth": "secret"}
    async with RedisCluster(2, 0, options=options) as cluster:
        first = cluster.nodes[0]
        assert await first.admin("ACL", "WHOAMI") == "boss"
        for node in cluster.nodes:
            await node.admin("ACL", "SETUSER", "default", "off")
        slot = int(await first.admin("CLUSTER", "KEYSLOT", "a key"))
        source = await cluster.primary_of(slot)
        target = await other_than(cluster, source)
        await source.admin("SET", "a key", "a value")
        await cluster.move_slot(slot, target)
        assert await target.admin("GET", "a key") == "a value"


async def test_a_bad_option_is_told_and_nothing_is_left() -> None:
    cluster = RedisCluster(options={"no-such-option": "yes"})
    folder = cluster.folder
    with pytest.raises(ProcessFailedError, match="no-such-option"):
        async with cluster:
            pass
    assert not any(node.running for node in cluster.nodes)
    assert not folder.exists()


async def test_a_workplace_has_one() -> None:
    async with workplace() as place:
        cluster = await place.redis_cluster()
        assert await place.redis_cluster() is cluster
        pids, folder = pids_in(place.folder), place.folder
        assert len(pids) == 3
    assert not any(is_alive(pid) for pid in pids)
    assert not folder.exists()
