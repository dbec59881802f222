"""A live system in which much is wrong: `status`, `doctor`, the page and the API find the same, and say what to do.

A holder is gone with a long lease and others wait behind it; the data of one line is damaged; no daemon serves partition 1;
there is a dead letter; an exchange is missing; a queue of a subscriber confirms nothing.
"""

import asyncio
import html
import json
import re
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import redis
import yaml

from daemon.http.status_page.urls import conversation_place
from daemon.views.text import plain
from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.core.rules import Limits
from lockstore.factory import create_store
from lockstore.stores.redis.keys import ConcurrentKeys
from tests.commands.conftest import Place
from tests.conftest import shared_config
from tests.daemon.test_queues_that_do_not_take import drained, suspended
from tests.support.bot import Bot

WAITERS = 3
PATIENCE_S = 120.0  # an event must be ten seconds old before it counts as not announced


@dataclass
class System:
    """Where it is, and the conversations in it."""

    place: Place
    stuck: str
    damaged: str
    sound: str
    unserved: str
    reply_to: str

    @property
    def wrong(self) -> dict[str, str]:
        """What is wrong, and how bad it is."""
        return {
            self.stuck: "error",
            self.damaged: "error",
            "partition 1": "error",
            "exchanges": "error",
            "outbox": "error",
            "dead letters": "warning",
            f"daemon {socket.gethostname()} ({self.place.daemon.pid})": "warning",
        }

    async def page(self, place: str = "") -> str:
        async with aiohttp.ClientSession() as client, client.get(f"{self.place.daemon.http_url}{place}") as answer:
            return await answer.text()

    async def api(self, place: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.page(f"api/v1/{place}"))
        return found

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
    config["daemon"]["http"] = "127.0.0.1:0"
    file = tmp_path_factory.mktemp(namespace) / "endpoints.yml"
    file.write_text(yaml.safe_dump(config))
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(DaemonProcess(config, module="tests.support.careless_daemon"))
        bot = await stack.enter_async_context(Bot(rabbitmq.url, namespace))
        follower = f"{namespace}.follower"
        queue = await bot.channel.declare_queue(follower, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(f"{namespace}.events", "#")
        await bot.lock(named("followed", 0))
        await drained(bot, follower, 1)  # the daemon's channel has met it
        await bot.send(b"not a message", reply_to=None)
        while not (await bot.channel.get_queue(f"{namespace}.dead-letters")).declaration_result.message_count:
            await asyncio.sleep(0.05)
        await bot.channel.exchange_delete(f"{namespace}.dead-letters")
        await stack.enter_async_context(suspended(rabbitmq, follower))
        await bot.release(named("followed", 0), ticket_number=1)
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
        async with asyncio.timeout(PATIENCE_S):
            while troubles(await found.api("status")).keys() != found.wrong.keys():
                await asyncio.sleep(0.5)
        yield found


def damage(server: RedisServer, key_prefix: str, conversation: str) -> None:
    keys = ConcurrentKeys(key_prefix)
    _, line, *_ = keys.of_line(conversation, keys.shard_of(conversation))
    with redis.Redis(host=server.host, port=server.port, db=1) as client:
        client.delete(line)
        client.set(line, "written by another program")


def troubles(told: dict[str, Any]) -> dict[str, str]:
    return {finding["subject"]: finding["message"] for finding in told["findings"]}


def severities(told: dict[str, Any]) -> dict[str, str]:
    return {finding["subject"]: finding["severity"] for finding in told["findings"]}


async def test_status_doctor_the_api_and_the_page_find_the_same(system: System) -> None:
    status, doctor, api = await system.told("status"), await system.told("doctor"), await system.api("status")
    page = await system.page()
    shown = re.findall(r'<li class="(\w+)"><strong><bdi class="user">(.*?)</bdi></strong>', page)
    assert severities(status) == severities(doctor) == severities(api) == system.wrong
    assert {html.unescape(subject): severity for severity, subject in shown} == {
        plain(subject): severity for subject, severity in system.wrong.items()
    }
    assert all(finding["remedy"] for told in (status, doctor, api) for finding in told["findings"])
    (silent,) = [message for subject, message in troubles(status).items() if subject.startswith("daemon ")]
    assert "a queue bound to the public events does not accept them" in silent


async def test_the_page_marks_the_rows_and_the_conversation_names_what_is_wrong_with_it(system: System) -> None:
    page = await system.page()
    rows = {
        html.unescape(row): text
        for row, text in re.findall(r'<tr role="row" data-key="(.*?)">(.*?)</tr>', page, re.DOTALL)
    }
    assert "whose reply queue is gone" in rows[system.stuck]
    assert "its data is damaged" in rows[system.damaged]
    assert 'class="trouble"' not in rows[system.sound]
    assert '<p class="trouble">partition 1: no daemon serves it; waiting messages: 1</p>' in page
    assert re.search(r'<dt>Dead letters</dt><dd class="bad">1</dd>', page)
    stuck = await system.api(conversation_place(system.stuck))
    assert severities(stuck) == {system.stuck: "error"}
    assert stuck["reply_queues"][system.reply_to] is False
    assert "gone: its client has ended" in await system.page(conversation_place(system.stuck))
    damaged = await system.api(conversation_place(system.damaged))
    assert (damaged["error"], severities(damaged)) == ("damaged", {system.damaged: "error"})
    lines = await system.api("lines")
    assert severities(lines) == {system.stuck: "error", system.damaged: "error"}
    assert [line["conversation_id"] for line in lines["unreadable"]] == [system.damaged]


async def test_status_says_what_each_is(system: System) -> None:
    told = await system.told("status")
    found = troubles(told)
    assert "whose reply queue is gone, so nobody renews it; tickets behind it: 3;" in found[system.stuck]
    assert found["partition 1"] == "no daemon serves it; waiting messages: 1"
    assert found[system.damaged].startswith("its data is damaged: one of its keys in Redis has the wrong type")
    assert [word["pid"] for word in told["daemons"]] == [system.place.daemon.pid]
    assert told["queues"] == {"0": {"messages": 0, "consumers": 1}, "1": {"messages": 1, "consumers": 0}}
    (longest, _) = told["lines"]["lines"]
    assert (longest["conversation_id"], longest["holder"], longest["waiting"]) == (system.stuck, "bot-gone", WAITERS)


async def test_people_see_it_with_what_to_do_and_nobodys_name_does_anything_to_the_terminal(system: System) -> None:
    text = await system.said("status")
    assert "7 things are wrong:" in text
    assert "3 wait, the longest for" in text
    assert "in [red]stuck\\u202e" in text
    assert "[red]stuck\\u202e" in text
    assert "--force" in text


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
        "its data is damaged: one of its keys in Redis has the wrong type"
    )
    unserved = await system.told("show", system.unserved)
    assert troubles(unserved)[system.unserved] == "no daemon serves its partition, 1; waiting messages: 1"


async def test_show_says_of_a_sound_line_that_nothing_is_wrong_and_of_an_empty_one_who_else_there_is(
    system: System,
) -> None:
    sound = await system.told("show", system.sound, exit_code=0)
    assert (sound["ok"], sound["findings"]) == (True, [])
    empty = await system.told("show", named("sound-", 0), exit_code=0)
    assert empty["conversation"]["tickets"] == []
    part = await asyncio.to_thread(system.place.run, "show", "soun", "--json")
    assert json.loads(part.stdout)["alike"] == [system.sound]


async def test_check_finds_it(system: System) -> None:
    told = await system.told("check")
    steps = {step["name"]: step for step in told["steps"] if step["result"] == "fail"}
    assert set(steps) == {"request queues", "daemons", "lines"}
    assert "partition 1: no daemon serves it; waiting messages: 1" in steps["daemons"]["said"]
    assert "does not exist" in steps["request queues"]["said"]
    assert "bot-gone" in steps["lines"]["said"]
    assert {finding["subject"] for finding in steps["lines"]["findings"]} == {system.stuck, system.damaged, "outbox"}


async def test_doctor_finds_it_and_who_stands_where_nobody_serves(system: System) -> None:
    store = create_store(system.place.config["lock_store"], Limits())
    try:
        number = await store.issue_ticket(system.unserved, 3600)
        told = await system.told("doctor")
        await store.cleanup(system.unserved, number)
    finally:
        await store.close()
    found = {
        finding["message"].partition(":")[0] for finding in told["findings"] if finding["subject"] == "partition 1"
    }
    assert found == {"no daemon serves it; waiting messages", "no daemon serves it; lines in it"}
    assert troubles(told)[system.stuck].startswith("held by ticket 1 of bot-gone for ")
    assert told["lines"] == 4
    assert told["keys"] > 4
