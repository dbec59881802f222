"""Commands on real servers whose output is broken, or lacks the characters: the exit code says what was done."""

import asyncio
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from harness import RabbitMQ
from tests.commands.conftest import LIMIT_S, Place
from tests.commands.terminal import Terminal
from tests.support.bot import Bot

NAME = "\u05e9\u05dc\u05d5\u05dd \U0001f600"
LOCALES = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
REPLACED = r"\u05e9\u05dc\u05d5\u05dd \U0001f600"


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


@pytest.mark.parametrize("env", LOCALES, ids=["latin-1", "ascii", "C"])
async def test_a_name_that_the_output_lacks_is_replaced(env: dict[str, str], place: Place, rabbitmq: RabbitMQ) -> None:
    async with Bot(rabbitmq.url, place.config["broker"]["namespace"]) as bot:
        await bot.lock(NAME, holder=NAME, lifetime=600)
        for command, argv in (("show", [NAME]), ("status", []), ("status", ["--lines", "50"])):
            ended = await shell(place, "", command, *argv, **env)
            assert (ended.returncode, ended.stderr) == (0, "")
            assert REPLACED in ended.stdout
        for command in ("doctor", "check"):
            ended = await shell(place, "", command, **env)
            assert (ended.returncode, ended.stderr) == (0, "")
        said = await asyncio.to_thread(on_terminal, place, env)
        assert f"of {REPLACED} away from {REPLACED}, who has held it" in said
        watching = asyncio.create_task(shell(place, "2>/dev/null", "watch", NAME, "--count", "1", **env))
        while not watching.done():  # until it follows
            await bot.request(NAME, holder=NAME, wait=0)
            await asyncio.sleep(0.2)
        assert REPLACED in (await watching).stdout
        ran = await shell(place, "", "exec", NAME + "2", "--", "sh", "-c", 'printf %s "$LOCKSTORE_CONVERSATION"', **env)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, NAME + "2", "")
        ended = await shell(place, "", "release", NAME, "--force", "--yes", **env)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert REPLACED in ended.stdout


def on_terminal(place: Place, env: dict[str, str]) -> str:
    """Ask for a release and say no."""
    with Terminal(place.argv("release", NAME, "--force"), {**env, "COLUMNS": "300"}) as terminal:
        terminal.expect(r"Take ticket")
        before = terminal.seen
        terminal.type("n\n")
        said = before + terminal.rest()
        assert terminal.process.wait(LIMIT_S) == 1
    return said


@pytest.mark.parametrize("command", ["purge", "repartition"])
def test_a_change_that_was_made_is_exit_code_0_and_a_look_that_is_not_shown_1(
    command: str, place: Place, tmp_path: Path
) -> None:
    options = {"namespace": f"{place.config['broker']['namespace']}-none"}
    quiet = place.changed(tmp_path, broker=options)
    for argv, code in ((["--yes"], 0), ([], 1)):
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
            ended = quiet.run(command, *argv, capture_output=False, stdout=full, stderr=subprocess.PIPE)
        assert (ended.returncode, ended.stderr) == (
            code,
            f"lockstore {command}: standard output cannot be written: No space left on device\n",
        )
