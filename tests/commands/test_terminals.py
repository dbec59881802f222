"""Every command on an output that lacks characters, with ids that were made to deceive: nothing fails, nothing hides."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis
import yaml

from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.stores.redis.keys import ConcurrentKeys
from tests.commands.conftest import LIMIT_S, Place
from tests.support.bot import Bot

NAME = "\U0001f600 \u202etxt.\u200d\u00a0\u05e9\u05dc"
DAMAGED, WATCHED = f"damaged {NAME}", f"watched {NAME}"
TITLE = "\x1b]0;title\x07 \x9b31m"  # what stands in Redis may have any name
OUTPUTS: dict[str, dict[str, str]] = {
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
}

# One process for all commands: most of the time of each is the import.
RUN = """
import json, os, sys
from daemon.cli import streams
from daemon.cli.app import app

streams.prepare()
for argv in json.loads(sys.argv[1]):
    try:
        app([os.fsdecode(word.encode()) for word in argv])
    except SystemExit as ended:
        code = ended.code
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = "Traceback"
    print(f"\\n===== {argv[0].split()[0]} {code}", flush=True)
"""


class Stage:
    """What the commands find, and the files that say where."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        idle = {"broker": {**place.config["broker"], "namespace": f"{place.config['broker']['namespace']}.idle"}}
        self._files = {"": place.file, "idle": folder / "idle.yml"}
        self._files["idle"].write_text(yaml.safe_dump({**place.config, **idle}))

    def commands(self) -> list[list[str]]:
        def command(name: str, *argv: str, file: str = "") -> list[str]:
            return [name, "--config", str(self._files[file]), *argv]

        return [
            command("status"),
            command("status", "--daemon", self.place.daemon.http_url),
            command("show", NAME),
            command("show", "--daemon", self.place.daemon.http_url, NAME),
            command("show", DAMAGED),
            command("show", TITLE),
            command("doctor"),
            command("check"),
            command("watch", WATCHED, "--count", "3"),
            command("watch", WATCHED, "--count", "1", "--json"),
            command("release", NAME, "--force"),
            command("release", NAME, "--force", "--ticket", "999", "--yes"),
            command("purge", "--store", "redis"),
            command("repartition"),
            command("repartition", file="idle"),
            ["schema"],
            ["schema", "--format", "asyncapi"],
            ["no such command " + NAME],
        ]

    async def run(self, env: dict[str, str]) -> tuple[list[str], str]:
        """Run all of them, and give how each ended and what was printed. The question is answered with no."""
        leader, follower = pty.openpty()
        os.write(leader, b"n\n")
        warns = ("-X", "warn_default_encoding", "-W", "error::EncodingWarning")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *warns, "-c", RUN, json.dumps(self.commands())),
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
        os.close(follower)
        try:
            said, _ = await asyncio.wait_for(process.communicate(), 4 * LIMIT_S)
        finally:
            os.close(leader)
            if process.returncode is None:
                process.kill()
        text = said.decode(env["PYTHONIOENCODING"])
        return [line for line in text.splitlines() if line.startswith("===== ")], text


@pytest_asyncio.fixture
async def stage(
    config: dict[str, Any], rabbitmq: RabbitMQ, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Stage]:
    config["daemon"]["http"] = "127.0.0.1:0"
    prefix = config["lock_store"]["key_prefix"]
    file = tmp_path / "endpoints.yml"
    file.write_text(yaml.safe_dump(config))
    async with DaemonProcess(config) as daemon, Bot(rabbitmq.url, config["broker"]["namespace"]) as bot:
        await bot.lock(NAME, lifetime=3600, holder=NAME)
        await bot.request(NAME, lifetime=3600)
        await bot.lock(DAMAGED, lifetime=3600, holder=NAME)
        keys = ConcurrentKeys(prefix)
        _, line, *_ = keys.of_line(DAMAGED, keys.shard_of(DAMAGED))
        with redis.Redis(host=redis_server.host, port=redis_server.port, db=1) as client:  # the default of the option
            client.delete(line)
            client.set(line, "x")
            client.set(f"{prefix}:lock:{TITLE}", "x")

        async def lock_again_and_again() -> None:
            while True:
                granted = await bot.lock(WATCHED, holder=NAME)
                await bot.release(WATCHED, ticket_number=granted["ticket_number"])
                await asyncio.sleep(0.2)

        locking = asyncio.create_task(lock_again_and_again())
        yield Stage(Place(daemon, config, file), tmp_path)
        locking.cancel()


@pytest.mark.slow
async def test_every_command_ends_as_on_a_terminal_that_has_all_characters_and_prints_nothing_that_acts(
    stage: Stage,
) -> None:
    ends: dict[str, list[str]] = {}
    for name, env in OUTPUTS.items():
        ends[name], text = await stage.run(env)
        assert "Traceback" not in text, text
        assert all(char == "\n" or char.isprintable() for char in text), text
        assert "\\u202e" in text
        assert "\\x1b]0;title\\x07" in text
        assert "its data is damaged" in text
        assert ("\U0001f600" in text) == (name == "utf-8")
    assert len(ends["utf-8"]) == len(stage.commands())
    assert all(found == ends["utf-8"] for found in ends.values()), ends
