"""Commands on real servers whose output is broken: the exit code says what was done."""

import asyncio
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import redis

from harness import RabbitMQ, RedisServer
from lockstore.stores.redis.keys import RedisKeys
from tests.commands.conftest import LIMIT_S, Place
from tests.conftest import DaemonMaker
from tests.partitions.test_number import stands
from tests.support.bot import Bot

NAME = "\u05e9\u05dc\u05d5\u05dd \U0001f600"


async def shell(place: Place, outputs: str, command: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.join(place.argv(command, *argv))} {outputs}"
    return await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("outputs", ["> /dev/full", ">&-", "> /dev/full 2>&1", ">&- 2>&-", "<&- >&- 2>&-", "| true"])
async def test_a_lock_that_was_taken_is_exit_code_0_whatever_could_be_printed(
    outputs: str, place: Place, rabbitmq: RabbitMQ
) -> None:
    async with Bot(rabbitmq.url, place.config["broker"]["namespace"]) as bot:
        held = await bot.lock(NAME, lifetime=600)
        if outputs == "| true":
            outputs = "| true; exit ${PIPESTATUS[0]}"
        ended = await shell(place, outputs, "release", NAME, "--force", "--yes")
        assert (ended.returncode, ended.stdout, "Traceback" in ended.stderr) == (0, "", False), ended.stderr
        await bot.expect("released", ticket_number=held["ticket_number"])
    if outputs == "> /dev/full":
        assert ended.stderr == "lockstore release: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("outputs", ["> /dev/full", "| true; exit ${PIPESTATUS[0]}"])
async def test_keys_that_were_purged_are_exit_code_0_whatever_could_be_printed(
    outputs: str, place: Place, redis_server: RedisServer
) -> None:
    key = RedisKeys(place.config["lock_store"]["key_prefix"]).of(NAME).last
    with redis.Redis(host=redis_server.host, port=redis_server.port, db=1) as client:  # the default of the option
        client.set(key, 5)
        ended = await shell(place, outputs, "purge", "--store", "redis", "--yes")
        assert (ended.returncode, ended.stdout, "Traceback" in ended.stderr) == (0, "", False), ended.stderr
        assert not client.exists(key)


async def test_a_number_of_partitions_that_was_changed_is_exit_code_0_whatever_could_be_printed(
    place: Place, rabbitmq: RabbitMQ, start_daemon: DaemonMaker, namespace: str, tmp_path: Path
) -> None:
    broker = {"namespace": namespace}
    here = place.changed(tmp_path, broker=broker, daemon={"http": None})
    await (await start_daemon(here.config)).stop()
    outputs = ["> /dev/full", ">&-", "> /dev/full 2>&1", "| true; exit ${PIPESTATUS[0]}"]
    for partitions, output in enumerate(outputs, 2):
        there = here.changed(tmp_path, broker={"partitions": partitions})
        ended = await shell(there, output, "repartition", "--yes")
        assert (ended.returncode, ended.stdout, "Traceback" in ended.stderr) == (0, "", False), ended.stderr
        assert await stands(rabbitmq, namespace, range(8)) == list(range(partitions))
