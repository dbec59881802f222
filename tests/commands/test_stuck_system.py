"""A live system in which something is wrong: `status`, `show`, `check` and `doctor` each find it, and say what to do.

A holder is gone with a long lease and others wait behind it; the data of one line is damaged; nobody serves partition 1.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import redis
import yaml

from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.core.rules import Limits
from lockstore.factory import create_store
from lockstore.stores.redis.keys import ConcurrentKeys
from tests.commands.conftest import Place
from tests.conftest import shared_config
from tests.support.bot import Bot

WAITERS = 3


@dataclass
class System:
    """Where it is, and the conversations in it."""

    place: Place
    stuck: str
    damaged: str
    sound: str
    unserved: str
    reply_to: str

    async def told(self, *argv: str, exit_code: int = 1) -> dict[str, Any]:
        ran = await asyncio.to_thread(self.place.run, *argv, "--json")
        assert (ran.returncode, ran.stderr) == (exit_code, "")
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    async def said(self, *argv: str) -> str:
        ran = await asyncio.to_thread(self.place.run, *argv)
        assert ran.stderr == ""
        assert all(char.isprintable() for char in ran.stdout.replace("\n", ""))
        return " ".join(ran.stdout.split())


def named(kind: str, partition: int) -> str:
    """Make up a conversation id that two partitions have there."""
    return next(name for place in range(100) if zlib.crc32((name := f"{kind}-{place}").encode()) % 2 == partition)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def system(
    rabbitmq: RabbitMQ, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    namespace = "stuck"
    config = shared_config(rabbitmq, redis_server, namespace)
    config["broker"]["partitions"] = 2
    file = tmp_path_factory.mktemp(namespace) / "endpoints.yml"
    file.write_text(yaml.safe_dump(config))
    async with (
        DaemonProcess(config, module="tests.support.partial_daemon") as daemon,
        Bot(rabbitmq.url, namespace) as bot,
    ):
        async with Bot(rabbitmq.url, namespace) as gone:
            found = System(
                Place(daemon, config, file),
                stuck=named("[red]stuck\u202e", 0),
                damaged=named("damaged", 0),
                sound=named("sound", 0),
                unserved=named("unserved", 1),
                reply_to=gone.reply_to,
            )
            await gone.lock(found.stuck, holder="bot-gone", lifetime=3600)
        for place in range(WAITERS):
            await bot.request(found.stuck, holder=f"bot-{place}", wait=3600)
            await bot.expect("queued", position=place + 1)
        await bot.lock(found.sound, holder="bot-well", lifetime=3600)
        await bot.lock(found.damaged, holder="bot-9", lifetime=3600)
        damage(redis_server, namespace, found.damaged)
        await bot.request(found.unserved, partition=1)
        yield found


def damage(server: RedisServer, key_prefix: str, conversation: str) -> None:
    keys = ConcurrentKeys(key_prefix)
    _, line, *_ = keys.of_line(conversation, keys.shard_of(conversation))
    with redis.Redis(host=server.host, port=server.port, db=1) as client:
        client.delete(line)
        client.set(line, "written by another program")


def troubles(told: dict[str, Any]) -> dict[str, str]:
    return {trouble["where"]: trouble["said"] for trouble in told["troubles"]}


async def test_status_finds_all_three(system: System) -> None:
    told = await system.told("status")
    found = troubles(told)
    assert set(found) == {system.stuck, "partition 1", "lines"}
    assert "whose reply queue is gone, so nobody renews it; tickets behind it: 3;" in found[system.stuck]
    assert found["partition 1"] == "no daemon serves it; messages that wait there: 1"
    assert found["lines"] == "1 of 3 could not be read"
    assert [word["pid"] for word in told["daemons"]] == [system.place.daemon.pid]
    assert told["queues"] == {"0": {"messages": 0, "consumers": 1}, "1": {"messages": 1, "consumers": 0}}
    (longest, _) = told["lines"]["lines"]
    assert (longest["conversation_id"], longest["holder"], longest["waiting"]) == (system.stuck, "bot-gone", WAITERS)


async def test_people_see_it_with_what_to_do_and_nobodys_name_does_anything_to_the_terminal(system: System) -> None:
    text = await system.said("status")
    assert "3 things are wrong:" in text
    assert "3 wait, the longest for" in text
    assert "in [red]stuck\\u202e" in text
    assert "[red]stuck\\u202e" in text
    assert "--force" in text
    assert "-> find them with: lockstore doctor" in text


async def test_show_finds_the_holder_that_is_gone(system: System) -> None:
    told = await system.told("show", system.stuck)
    assert "held by ticket 1 of bot-gone" in troubles(told)[system.stuck]
    line = told["conversation"]
    assert [ticket["state"] for ticket in line["tickets"]] == ["holds", "waits", "waits", "waits"]
    assert [event["type"] for event in line["history"]] == ["granted", "queued", "queued", "queued"]
    assert told["reply_queues"][system.reply_to] is False
    assert sorted(told["reply_queues"].values()) == [False, True]
    text = await system.said("show", system.stuck)
    assert "4 tickets in line; the last number is 4" in text
    assert "GONE" in text
    assert text.count(" there ") == WAITERS
    assert "What happened last" in text


async def test_show_finds_the_damage_and_the_partition_without_a_daemon(system: System) -> None:
    damaged = await system.told("show", system.damaged)
    assert troubles(damaged)[system.damaged].startswith(
        "its data is damaged: one of its keys in Redis is of another type"
    )
    unserved = await system.told("show", system.unserved)
    assert troubles(unserved)[system.unserved] == "no daemon serves its partition, 1; messages that wait there: 1"


async def test_show_says_of_a_sound_line_that_nothing_is_wrong_and_of_an_empty_one_who_else_there_is(
    system: System,
) -> None:
    sound = await system.told("show", system.sound, exit_code=0)
    assert (sound["ok"], sound["troubles"]) == (True, [])
    empty = await system.told("show", named("sound-", 0), exit_code=0)
    assert empty["conversation"]["tickets"] == []
    part = await asyncio.to_thread(system.place.run, "show", "soun", "--json")
    assert json.loads(part.stdout)["alike"] == [system.sound]


async def test_check_finds_it(system: System) -> None:
    told = await system.told("check")
    steps = {step["name"]: step for step in told["steps"] if step["result"] == "fail"}
    assert set(steps) == {"daemons", "lines"}
    assert "no daemon serves partition 1; messages that wait there: 1" in steps["daemons"]["said"]
    assert "bot-gone" in steps["lines"]["said"]
    assert "lines: 1 of 3 could not be read" in steps["lines"]["said"]


async def test_doctor_finds_it_and_who_stands_where_nobody_serves(system: System) -> None:
    store = create_store(system.place.config["lock_store"], Limits())
    try:
        number = await store.issue_ticket(system.unserved, 3600)
        told = await system.told("doctor")
        await store.cleanup(system.unserved, number)
    finally:
        await store.close()
    found = {(trouble["where"], trouble["said"].partition(":")[0]) for trouble in told["troubles"]}
    assert found == {
        ("partition 1", "no daemon serves it; messages that wait there"),
        ("partition 1", "no daemon serves it; lines that stand in it"),
        (system.damaged, "data"),
        (system.stuck, "held by ticket 1 of bot-gone for " + held_for(told, system.stuck)),
    }
    assert told["lines"] == 4
    assert told["keys"] > 4


def held_for(told: dict[str, Any], where: str) -> str:
    said = next(trouble["said"] for trouble in told["troubles"] if trouble["where"] == where)
    return str(said.partition(" for ")[2].partition(":")[0])
