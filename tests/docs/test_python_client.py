"""docs/python-client.md: its tables are those of the code, and its programs run."""

import asyncio
import inspect
import json
import re
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import lockstore
from lockstore import LockClient
from lockstore.client import HeldTicket
from lockstore.client.blocking import LockClient as BlockingClient
from lockstore.client.blocking import ThreadTicket
from lockstore.util.urls import CLIENT_PARAMETERS
from tests.conftest import DaemonMaker
from tests.docs.pages import CHECKOUT, Block, bare, blocks, codes, section, tables, text_of

PAGE = CHECKOUT / "docs" / "python-client.md"
PATIENCE_S = 100.0
THE_URL = "amqp://guest:guest@localhost:5672/"


def parameters(function: Any) -> dict[str, Any]:
    """Give the parameters of a function with their defaults."""
    found = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in found if each.name != "self"}


def test_every_argument_of_the_client_is_there_with_its_default() -> None:
    (rows,) = tables(section(PAGE, "The URL and the client"))
    declared = parameters(LockClient.__init__)
    assert {bare(row["argument"]) for row in rows} == set(declared)
    shown = {bare(row["argument"]): bare(row["default"]) for row in rows}
    for name, default in declared.items():
        if default not in (None, inspect.Parameter.empty):
            assert shown[name] == json.dumps(default)
    assert parameters(BlockingClient.__init__) == declared


def test_every_parameter_of_the_url_is_named() -> None:
    assert set(codes(section(PAGE, "The URL and the client"))) >= CLIENT_PARAMETERS


def test_every_argument_of_a_lock_and_attribute_of_a_ticket_is_there() -> None:
    arguments, attributes = tables(section(PAGE, "A lock"))
    declared = set(parameters(LockClient.lock))
    assert {bare(row["argument"]) for row in arguments} == declared
    assert set(parameters(BlockingClient.lock)) == declared | {"on_lost"}
    public = {name for name in vars(HeldTicket) if not name.startswith("_")} - {"check_at"}
    assert {bare(row["attribute"]).removesuffix("()") for row in attributes} == public
    assert {name for name in vars(ThreadTicket) if not name.startswith("_")} == {"check", "lost"}


def test_every_error_of_the_client_is_there() -> None:
    (rows,) = tables(section(PAGE, "Errors"))
    shown = {bare(row["error"]) for row in rows}
    of_locks = {
        name
        for name in lockstore.__all__
        if name.endswith("Error") and issubclass(getattr(lockstore, name), lockstore.LockError)
    }
    assert shown == of_locks | {"ConfigError"}


def test_the_bots_are_those_in_whose_environments_the_clients_tests_run() -> None:
    (rows,) = tables(section(PAGE, "Install"))
    pins = ("rasa-3.6", "rasa-pro-3.15", "rasa-pro-3.21", "client-alone")
    for row, name in zip(rows, pins, strict=True):
        pinned = (CHECKOUT / "requirements" / f"{name}.txt").read_text()
        [version] = re.findall(r"^aiormq==(\S+)", pinned, re.MULTILINE)
        assert version.startswith(row["aiormq"])
    classifiers = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["classifiers"]
    pythons = [each.rpartition(" ")[2] for each in classifiers if re.search(r":: 3\.\d+$", each)]
    assert f"on Python {pythons[0]} to {pythons[-1]}" in text_of(PAGE)


CALLS = {
    "answer": 'import asyncio\n\n\nasync def _run():\n    async with LockClient("URL") as locks:\n        print(await answer(locks, "user-42"))\n\n\nasyncio.run(_run())\n',
    "first_grant": """
import asyncio


async def _run():
    async with LockClient("URL") as locks:
        following = asyncio.create_task(first_grant(locks, "user-42"))
        while not following.done():
            async with locks.lock("user-42"):
                pass
        print(following.result())


asyncio.run(_run())
""",
    "make_app": """
import asyncio
from aiohttp.test_utils import TestClient, TestServer


async def _run():
    async with TestClient(TestServer(make_app())) as client:
        for reply in await asyncio.gather(*(client.post("/user-42") for _ in range(3))):
            print(await reply.text())


asyncio.run(_run())
""",
    "application": """
print(application({"PATH_INFO": "/user-42"}, lambda *_: None)[0].decode())
""",
}
PRINTED = {
    "main": r"ticket \d+ of user-42",
    "answer": "answered",
    "first_grant": r"\d+",
    "handle": r"\d+",
    "make_app": r"(user-42: ticket \d+\n?){3}",
    "application": r"user-42: ticket \d+",
}


def named(block: Block) -> str:
    """Give the name of the last function of a program."""
    *_, last = re.finditer(r"^(?:async )?def (\w+)", block.text, re.MULTILINE)
    return last[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_programs_of_the_page_run(config: dict[str, Any], start_daemon: DaemonMaker, tmp_path: Path) -> None:
    await start_daemon(config)
    broker = config["broker"]
    connected = f'"{broker["url"]}", namespace="{broker["namespace"]}"'
    *programs, with_sigterm = blocks("python", PAGE)
    assert sorted(map(named, programs)) == sorted(PRINTED)
    for block in programs:
        text = block.text + CALLS.get(named(block), "").replace("URL", THE_URL)
        assert f'"{THE_URL}"' in text
        done = await run(text.replace(f'"{THE_URL}"', connected), tmp_path)
        assert re.fullmatch(PRINTED[named(block)], done.strip()), f"{block}: {done}"
    await stopped_by_sigterm(with_sigterm.text.replace(f'"{THE_URL}"', connected), tmp_path)
    async with LockClient(broker["url"], namespace=broker["namespace"]) as locks, locks.lock("user-42", wait=0):
        pass  # nothing was left behind


async def start(text: str, folder: Path) -> asyncio.subprocess.Process:
    program = folder / "program.py"
    program.write_text(text)
    pipe, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    return await asyncio.create_subprocess_exec(sys.executable, program, cwd=CHECKOUT, stdout=pipe, stderr=both)


async def run(text: str, folder: Path) -> str:
    process = await start(text, folder)
    printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def stopped_by_sigterm(text: str, folder: Path) -> None:
    text = text.replace(
        "            await asyncio.sleep", "            print('held', flush=True)\n            await asyncio.sleep"
    )
    process = await start(f"{text}\nasyncio.run(main())\n", folder)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"held\n"
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), PATIENCE_S)
