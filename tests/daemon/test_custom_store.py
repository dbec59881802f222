"""The daemon on a store of the user's own: the classes of docs/custom-stores.md, as a user has them."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.core.rules import Limits
from lockstore.factory import create_store
from tests.conftest import DaemonMaker
from tests.docs.pages import CHECKOUT, blocks
from tests.support.bot import Bot, dead_letters
from tests.support.public import Public
from tests.support.serve import run_serve

PAGE = CHECKOUT / "docs" / "custom-stores.md"
SYNC, ASYNC, SQLITE = "FileLockStore", "PlainLockStore", "SqliteLockStore"


@dataclass(frozen=True, slots=True)
class Example:
    """A class of the page: the section that names it, and where its module is."""

    section: dict[str, Any]
    env: dict[str, str]


@pytest.fixture
def example(tmp_path: Path, redis_server: RedisServer, namespace: str) -> Callable[[str], Example]:
    """Save a class of the page as a user does, and take the section below it, with data of this test's own."""
    own = {
        SYNC: {"folder": str(tmp_path / "locks")},
        ASYNC: {"url": f"redis://{redis_server.host}:{redis_server.port}/3", "key_prefix": namespace},
        SQLITE: {"path": str(tmp_path / "locks.db")},
    }

    def copied(name: str) -> Example:
        (text,) = (block.text for block in blocks("python", PAGE) if f"class {name}(" in block.text)
        shown = (yaml.safe_load(block.text)["lock_store"] for block in blocks("yaml", PAGE))
        (section,) = (section for section in shown if section["type"].endswith(f".{name}"))
        (tmp_path / f"{section['type'].partition('.')[0]}.py").write_text(text)
        return Example(section | own[name], {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(CHECKOUT)))})

    return copied


Copied = Callable[[str], Example]


@pytest.fixture
def config(rabbitmq: RabbitMQ, namespace: str) -> dict[str, Any]:
    """Configure a daemon; the test adds the store."""
    return {"broker": {"url": rabbitmq.url, "namespace": namespace}}


async def start_on(example: Example, config: dict[str, Any], start_daemon: DaemonMaker) -> DaemonProcess:
    return await start_daemon(config | {"lock_store": example.section}, env=example.env)


@pytest.mark.parametrize("name", [SYNC, ASYNC, SQLITE])
class TestAnExampleOfThePage:
    async def test_serves_requests_grants_and_releases(
        self,
        name: str,
        example: Copied,
        config: dict[str, Any],
        start_daemon: DaemonMaker,
        bot: Bot,
        rabbitmq: RabbitMQ,
        namespace: str,
    ) -> None:
        await start_on(example(name), config, start_daemon)
        async with Public(rabbitmq.url, namespace) as public:
            for request_id in ("a", "b", "c"):
                await bot.request("user-42", request_id, lifetime=60, wait=60)
            await bot.request("*", "elsewhere", lifetime=60)
            await bot.expect("granted", request_id="elsewhere", ticket_number=0)
            for number, request_id in enumerate(("a", "b", "c")):
                await bot.expect("granted", request_id=request_id, ticket_number=number)
                await bot.release("user-42", ticket_number=number)
                await bot.expect("released", request_id=request_id)
            await bot.release("user-42", ticket_number=0)
            await bot.expect("rejected", ticket_number=0, reason="finished")
            await public.until_ended({"a", "b", "c"})
            public.check()

    async def test_ends_a_lease_at_its_time(
        self, name: str, example: Copied, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
    ) -> None:
        await start_on(example(name), config, start_daemon)
        await bot.request("c", "holder", lifetime=0.3)
        await bot.request("c", "waiter", lifetime=60)
        await bot.expect("expired", request_id="holder")
        await bot.expect("granted", request_id="waiter", ticket_number=1)

    async def test_outlives_a_restart_of_the_daemon(
        self, name: str, example: Copied, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
    ) -> None:
        daemon = await start_on(example(name), config, start_daemon)
        holder = await bot.lock("c", lifetime=60)
        await bot.request("c", "waiter", lifetime=60, wait=60)
        await bot.expect("queued", request_id="waiter", ticket_number=1)
        await daemon.restart()
        await bot.release("c", ticket_number=holder["ticket_number"])
        await bot.expect("granted", request_id="waiter", ticket_number=1)
        await bot.release("c", ticket_number=1)
        await bot.expect("released", request_id="waiter")
        await daemon.restart()
        assert (await bot.lock("c"))["ticket_number"] == 2


class TestTheSqliteExample:
    async def test_ends_what_a_killed_daemon_had_granted_with_no_message_at_all(
        self, example: Copied, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
    ) -> None:
        daemon = await start_on(example(SQLITE), config, start_daemon)
        await bot.request("c", "holder", lifetime=1)
        await bot.request("c", "waiter", lifetime=60)
        await bot.expect("queued", request_id="waiter")
        await daemon.kill()
        await daemon.start()
        await bot.expect("expired", request_id="holder")
        await bot.expect("granted", request_id="waiter", ticket_number=1)

    async def test_is_served_by_a_second_daemon_when_the_first_is_killed(
        self, example: Copied, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
    ) -> None:
        on_sqlite = example(SQLITE)
        active = await start_on(on_sqlite, config, start_daemon)
        await start_on(on_sqlite, config, start_daemon)
        await bot.request("c", "holder", lifetime=2)
        await bot.request("c", "waiter", lifetime=60)
        await bot.request("d", "other holder", lifetime=60)
        await bot.request("d", "other waiter", lifetime=60)
        await bot.expect("queued", request_id="other waiter")
        await active.kill()
        await bot.release("d", request_id="other holder")
        await bot.expect("granted", request_id="other waiter", ticket_number=1)
        await bot.expect("expired", request_id="holder")
        await bot.expect("granted", request_id="waiter", ticket_number=1)

    async def test_has_one_line_for_a_daemon_and_a_bot_beside_it(
        self, example: Copied, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
    ) -> None:
        on_sqlite = example(SQLITE)
        await start_on(on_sqlite, config, start_daemon)
        store = create_store(on_sqlite.section | {"type": "examples.sqlite_lock_store.SqliteLockStore"}, Limits())
        await store.open()
        for number in (0, 2):
            async with store.lock("c", wait_time_in_seconds=0.05) as lock:
                assert lock.tickets[0].number == number
                await bot.request("c", f"behind {number}", lifetime=60)
                await bot.expect("queued", request_id=f"behind {number}", ticket_number=number + 1)
            await bot.expect("granted", request_id=f"behind {number}", ticket_number=number + 1)
            await bot.release("c", ticket_number=number + 1)
            await bot.expect("released", request_id=f"behind {number}")
        await store.close()


async def test_what_a_custom_store_raises_is_tried_again_and_one_bad_conversation_is_parked(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    trouble = tmp_path / "trouble"
    config["lock_store"] = {"type": "tests.support.moody_store.MoodyStore", "trouble": str(trouble)}
    daemon = await start_daemon(config)
    granted = await bot.lock("c")
    trouble.touch()
    await bot.request("c", "patient")
    async with asyncio.timeout(20):
        while not daemon.events("store.unavailable"):
            await asyncio.sleep(0.02)
    trouble.unlink()
    await bot.expect("queued", request_id="patient")
    await bot.request("damaged", "r")
    await bot.release("c", ticket_number=granted["ticket_number"])
    assert (await bot.expect("rejected", request_id="r"))["detail"].endswith("its row is damaged")
    [letter] = await dead_letters(bot, 1)
    assert letter.headers["x-error-reason"] == "invalid"
    await bot.expect("granted", request_id="patient")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_driver", "'broken_store' was found, but importing it failed: ModuleNotFoundError"),
        ("class Store(:", "importing it failed: SyntaxError: invalid syntax (broken_store.py, line 1)"),
        ("Stroe = 1", "lock_store.type: module 'broken_store' has no 'Store'"),
    ],
)
def test_a_custom_store_that_cannot_be_had_stops_the_start(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_store.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(CHECKOUT))))
    ended = run_serve({"lock_store": {"type": "broken_store.Store"}}, tmp_path)
    assert ended.returncode == 2
    assert told in ended.stdout + ended.stderr


async def test_what_open_raises_is_tried_again(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, example: Copied, tmp_path: Path
) -> None:
    on_sqlite = example(SQLITE)
    file = tmp_path / "locks.db"
    file.write_text("this is no database, however often one looks at it")
    daemon = DaemonProcess(config | {"lock_store": on_sqlite.section}, env=on_sqlite.env)
    starting = asyncio.create_task(daemon.start())
    try:
        async with asyncio.timeout(20):
            while not daemon.events("store.unavailable"):
                await asyncio.sleep(0.02)
        [told] = daemon.events("store.unavailable")
        assert told["error"].endswith("locks.db: file is not a database")
        file.unlink()
        await starting
        await bot.lock("c")
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await daemon.close()
