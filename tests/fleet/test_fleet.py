"""Many daemons on many partitions that die all the while: one order, nothing lost, nothing twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness import RabbitMQ, RedisCluster, RedisServer
from harness.history import FaultKind
from tests.fleet.chaos import Site
from tests.fleet.load import Work
from tests.fleet.run import Outcome, Plan, configured, run
from tests.fleet.table import table

CALM = Plan(seconds=4, daemons=1, is_calm=True, patience_s=6, work=Work(conversations=20, publishers=3, partitions=2))

HAPPENS = ("kill before the store's step", "kill between steps", "terminate", "long pause", "addition")

# With these seeds every kind of mishap comes within some ten seconds, so a slow machine sees all of them too.
ONE_SEED, CLUSTER_SEED = 16, 9

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # its patience alone is longer than a test's usual time


def check(outcome: Outcome) -> None:
    """Nothing is wrong, and everything that should be survived did happen."""
    shown = table(outcome)
    print(shown)
    assert outcome.is_well, shown
    assert all(outcome.toll.counts[what] for what in HAPPENS), shown
    assert outcome.hand_overs > outcome.plan.work.partitions, shown
    assert outcome.verdict.again > 0, "nothing was told twice: no daemon died at a moment that mattered"
    assert {how.partition(" ")[0] for how in outcome.verdict.ends} == {"released", "expired", "cancelled"}


async def test_on_one_redis(rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str, tmp_path: Path) -> None:
    plan = Plan(seed=ONE_SEED)
    store = {"type": "concurrent_redis", "host": redis_server.host, "port": redis_server.port}
    site = Site(configured(rabbitmq, namespace, store, plan.work), [redis_server], tmp_path)
    check(await run(site, plan))


async def test_on_a_cluster(rabbitmq: RabbitMQ, redis_cluster: RedisCluster, namespace: str, tmp_path: Path) -> None:
    plan = Plan(seed=CLUSTER_SEED)
    store = {"type": "concurrent_redis", "deployment_mode": "cluster", "endpoints": redis_cluster.endpoints}
    site = Site(configured(rabbitmq, namespace, store, plan.work), redis_cluster.nodes, tmp_path)
    check(await run(site, plan))


async def test_a_daemon_that_lies_is_found_out(
    rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str, tmp_path: Path
) -> None:
    store = {"type": "concurrent_redis", "host": redis_server.host, "port": redis_server.port}
    config = configured(rabbitmq, namespace, store, CALM.work)
    outcome = await run(Site(config, [redis_server], tmp_path, "tests.support.lying_daemon"), CALM)
    found = {kind for kind in FaultKind if outcome.verdict.count(kind)}
    assert found >= {FaultKind.INVERSION, FaultKind.OVERLAP, FaultKind.LOST, FaultKind.DOUBLED}, table(outcome)


async def test_hostile_messages_harm_nobody(
    rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str, tmp_path: Path
) -> None:
    store = {"type": "concurrent_redis", "host": redis_server.host, "port": redis_server.port}
    work = Work(conversations=40, publishers=4, partitions=2, rate=60)
    plan = Plan(seconds=8, daemons=1, is_calm=True, is_hostile=True, work=work)
    outcome = await run(Site(configured(rabbitmq, namespace, store, work), [redis_server], tmp_path), plan)
    shown = table(outcome)
    print(shown)
    assert outcome.is_well, shown
    assert not outcome.toll.counts, "the daemon that began is the one that ended"
    assert len(outcome.hostile) > 20, shown


async def test_hostile_messages_harm_nobody_while_daemons_are_killed(
    rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str, tmp_path: Path
) -> None:
    store = {"type": "concurrent_redis", "host": redis_server.host, "port": redis_server.port}
    work = Work(conversations=40, publishers=4, partitions=2, rate=60)
    plan = Plan(seconds=12, daemons=2, kill_every_s=3, is_hostile=True, work=work)
    outcome = await run(Site(configured(rabbitmq, namespace, store, work), [redis_server], tmp_path), plan)
    shown = table(outcome)
    print(shown)
    assert outcome.is_well, shown
    assert outcome.toll.counts["kill"], shown


async def test_a_daemon_to_which_nothing_happens_is_well(
    rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str, tmp_path: Path
) -> None:
    store = {"type": "concurrent_redis", "host": redis_server.host, "port": redis_server.port}
    plan = replace(CALM, patience_s=120)  # it ends as soon as all is well
    outcome = await run(Site(configured(rabbitmq, namespace, store, CALM.work), [redis_server], tmp_path), plan)
    assert outcome.is_well, table(outcome)
    assert not outcome.toll.counts
