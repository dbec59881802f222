"""What Redis says of itself, and what is made of it."""

from typing import Any

import pytest

from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.server_info import examined

GOOD: dict[str, Any] = {
    "redis_version": "7.2.4",
    "role": "master",
    "connected_slaves": 1,
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "used_memory": 2 * 1024 * 1024,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}


def results(*infos: dict[str, Any], wait_replicas: int = 0) -> dict[str, str]:
    remarks = examined([GOOD | info for info in infos], RedisOptions(wait_replicas=wait_replicas))
    assert all((remark.remedy is None) == (remark.result == "ok") for remark in remarks)
    return {remark.about: remark.result for remark in remarks if remark.result != "ok"}


@pytest.mark.parametrize(
    ("info", "found"),
    [
        pytest.param({}, {}, id="all is well"),
        pytest.param({"redis_version": "6.2.14"}, {"version": "fail"}, id="too old"),
        pytest.param({"maxmemory_policy": "allkeys-lru"}, {"eviction": "warn"}, id="evicts"),
        pytest.param({"maxmemory": 100, "used_memory": 91}, {"memory": "warn"}, id="nearly full"),
        pytest.param({"maxmemory": 100, "used_memory": 90}, {}, id="not yet"),
        pytest.param({"aof_enabled": 0}, {"persistence": "warn"}, id="forgets"),
        pytest.param({"aof_last_write_status": "err"}, {"persistence": "fail"}, id="cannot write"),
        pytest.param({"rdb_last_bgsave_status": "err"}, {"persistence": "fail"}, id="cannot save"),
        pytest.param({"role": "slave"}, {"replicas": "fail"}, id="a replica"),
    ],
)
def test_each_setting_that_matters_is_judged(info: dict[str, Any], found: dict[str, str]) -> None:
    assert results(info) == found


def test_the_worst_of_several_servers_counts() -> None:
    assert results({}, {"redis_version": "6.2.14", "maxmemory_policy": "volatile-ttl"}) == {
        "version": "fail",
        "eviction": "warn",
    }


def test_fewer_replicas_than_a_grant_waits_for_is_a_fault() -> None:
    assert results({}, wait_replicas=1) == {}
    assert results({"connected_slaves": 0}, {}, wait_replicas=1) == {"replicas": "fail"}
