"""`lockstore check` finds what is wrong, says what to do, and does not need a daemon."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import redis

from harness import RabbitMQ
from tests.commands.conftest import Place
from tests.conftest import DaemonMaker
from tests.support.bot import Bot

STEPS = [
    "configuration",
    "RabbitMQ: connection",
    "RabbitMQ: server",
    "RabbitMQ: rights",
    "request queues",
    "dead letters",
    "daemons",
    "round trip: request",
    "round trip: renew",
    "round trip: release",
    "round trip: events",
    "lock store: connection",
    "Redis: version",
    "Redis: eviction",
    "Redis: memory",
    "Redis: persistence",
    "Redis: replicas",
    "lock store: clock",
    "lock store: a ticket",
    "lines",
]
NO_DAEMON = {"request queues": "warn", "dead letters": "skip", "daemons": "skip", "round trip": "skip"}
INSTANT = {"configuration", "Redis: eviction", "Redis: memory", "Redis: persistence", "Redis: replicas"}


async def checked(place: Place, exit_code: int = 0) -> dict[str, dict[str, Any]]:
    """Run it, and give the steps by their names."""
    ran = await asyncio.to_thread(place.run, "check", "--json")
    assert ran.stderr == ""
    told = json.loads(ran.stdout)
    assert ran.returncode == exit_code, ran.stdout
    assert told["ok"] == (exit_code == 0)
    return {step["name"]: step for step in told["steps"]}


def results(steps: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: step["result"] for name, step in steps.items() if step["result"] != "ok"}


async def test_where_all_is_well_every_step_is_taken_and_timed_and_leaves_nothing(place: Place) -> None:
    steps = await checked(place)
    assert list(steps) == STEPS
    assert results(steps) == {}
    assert {name for name, step in steps.items() if step["took_ms"] is None} == INSTANT
    await place.stand_in_line("lockstore check", 0)


async def test_it_works_with_no_daemon_running_and_says_so(place: Place, namespace: str, tmp_path: Path) -> None:
    apart = place.changed(tmp_path, broker={"namespace": namespace}, lock_store={"key_prefix": namespace})
    steps = await checked(apart)
    assert results(steps) == NO_DAEMON
    assert steps["round trip"]["remedy"] == "start a daemon: lockstore serve"
    ran = await asyncio.to_thread(apart.run, "check")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "-> start a daemon: lockstore serve" in ran.stdout
    assert ran.stdout.endswith(f"\n1 warn, 3 skip, {len(steps) - 4} ok.\n")


@pytest.mark.parametrize(
    ("url", "said", "remedy"),
    [
        pytest.param(
            "guest:hidden@{place}/",
            "rejected the credentials of user guest",
            "correct broker.url",
            id="password",
        ),
        pytest.param(
            "guest:guest@{place}/elsewhere",
            "the virtual host elsewhere does not exist",
            "add_vhost elsewhere",
            id="vhost",
        ),
        pytest.param("guest:hidden@127.0.0.1:1/", "nothing listens at 127.0.0.1:1", "127.0.0.1:1", id="nobody there"),
    ],
)
async def test_a_way_to_rabbitmq_that_leads_nowhere_is_told_with_the_remedy_and_the_store_is_looked_at_all_the_same(
    url: str, said: str, remedy: str, place: Place, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    url = f"amqp://{url.format(place=f'{rabbitmq.host}:{rabbitmq.port}')}"
    steps = await checked(place.changed(tmp_path, broker={"url": url}), exit_code=1)
    assert results(steps) == {"RabbitMQ: connection": "fail"}
    assert said in steps["RabbitMQ: connection"]["said"]
    assert remedy in steps["RabbitMQ: connection"]["remedy"]
    assert "hidden" not in json.dumps(steps)
    assert "lock store: a ticket" in steps


async def test_a_user_without_rights_is_told_the_command_that_gives_them_and_it_does(
    place: Place, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    user = f"u{uuid.uuid4().hex[:8]}"
    await rabbitmq.ctl("add_user", user, "secret")
    await rabbitmq.ctl("set_permissions", user, "^$", "^$", "^$")
    try:
        url = f"amqp://{user}:secret@{rabbitmq.host}:{rabbitmq.port}/"
        limited = place.changed(tmp_path, broker={"url": url})
        steps = await checked(limited, exit_code=1)
        assert "refused for user" in steps["RabbitMQ: rights"]["said"]
        program, *words = [word.strip("'") for word in steps["RabbitMQ: rights"]["remedy"].split()]
        assert program == "rabbitmqctl"
        await rabbitmq.ctl(*words)
        assert results(await checked(limited)) == {}
    finally:
        await rabbitmq.ctl("delete_user", user)


async def test_a_partition_that_is_not_served_and_dead_letters_are_found(
    place: Place, rabbitmq: RabbitMQ, namespace: str, start_daemon: DaemonMaker, tmp_path: Path
) -> None:
    apart = place.changed(tmp_path, broker={"namespace": namespace, "partitions": 2})
    await start_daemon(apart.config, module="tests.support.partial_daemon")
    async with Bot(rabbitmq.url, namespace) as bot:
        await bot.send(b"not a message", reply_to=None)
        await bot.request("any", partition=1)
        while not (await counted(bot, "dead-letters") and await counted(bot, "requests.1")):
            await asyncio.sleep(0.02)
    steps = await checked(apart, exit_code=1)
    assert results(steps) == {"dead letters": "warn", "daemons": "fail", "round trip": "skip"}
    assert steps["daemons"]["said"].startswith("partition 1: no daemon serves it; waiting messages: 1; ")
    other = place.changed(tmp_path, broker={"namespace": namespace, "partitions": 3})
    steps = await checked(other, exit_code=1)
    assert steps["request queues"]["said"].endswith("has 2 on the broker")
    assert "lockstore repartition" in steps["request queues"]["remedy"]


async def counted(bot: Bot, name: str) -> int:
    queue: aio_pika.abc.AbstractQueue = await bot.channel.get_queue(f"{bot.namespace}.{name}", ensure=True)
    return queue.declaration_result.message_count or 0


async def test_a_store_that_is_away_and_one_that_lacks_a_right_are_told_apart(
    place: Place, client_of_redis: redis.Redis, namespace: str, tmp_path: Path
) -> None:
    apart = {"broker": {"namespace": namespace}}  # where no daemon is, none is listened for
    away = await checked(place.changed(tmp_path, lock_store={"port": 1, "password": "hidden"}, **apart), exit_code=1)
    assert results(away) == NO_DAEMON | {"lock store: connection": "fail"}
    assert "hidden" not in json.dumps(away)
    client_of_redis.acl_setuser(
        "fewer",
        enabled=True,
        passwords=["+secret"],
        keys=["*"],
        channels=["*"],
        commands=["+@all", "-xadd"],
        reset=True,
    )
    try:
        options = {"username": "fewer", "password": "secret", "key_prefix": namespace}
        fewer = await checked(place.changed(tmp_path, lock_store=options, **apart), exit_code=1)
    finally:
        client_of_redis.acl_deluser("fewer")
    assert results(fewer) == NO_DAEMON | {"lock store: a ticket": "fail"}
    assert "ACL" in fewer["lock store: a ticket"]["said"], fewer


async def test_tickets_in_memory_are_the_daemons_own(place: Place, namespace: str, tmp_path: Path) -> None:
    steps = await checked(place.changed(tmp_path, lock_store=None, broker={"namespace": namespace}))
    assert results(steps) == NO_DAEMON | {"lock store": "skip", "lines": "skip"}


def test_a_wrong_file_is_told_before_anything_is_looked_at(place: Place, tmp_path: Path) -> None:
    said = place.changed(tmp_path, broker={"partitions": 0}).refusal("check", "--json")
    assert said.startswith("broker.partitions: ")


async def test_a_broker_that_takes_no_message_of_the_largest_size_is_found(place: Place, tmp_path: Path) -> None:
    async with RabbitMQ({"max_message_size": "60000"}, folder=tmp_path / "rabbitmq") as node:
        small = place.changed(tmp_path, broker={"url": node.url})
        step = (await checked(small, 1))["RabbitMQ: rights"]
    assert step["result"] == "fail"
    assert "larger than configured max size 60000" in step["said"]
    assert "max_message_size" in step["remedy"]
