"""What the documents show as code works: it compiles, and it runs on real servers."""

import asyncio
import inspect
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore import LockStore, Ticket, TicketLock
from lockstore.client import LockClient
from lockstore.core.commands import Request
from lockstore.core.rules import Limits
from lockstore.errors import ConversationError, RefusedError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.stores.maybe_async import call_maybe_async
from tests.docs.pages import CHECKOUT, Block, bare, blocks, codes, section, tables

README = CHECKOUT / "README.md"
LOCK_STORES = CHECKOUT / "docs" / "lock-stores.md"
CUSTOM_STORES = CHECKOUT / "docs" / "custom-stores.md"
GUARANTEES = CHECKOUT / "docs" / "guarantees.md"
RAW = CHECKOUT / "examples" / "raw_request.py"

RUN_LIMIT_S = 30

DaemonMaker = Callable[..., Awaitable[DaemonProcess]]


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_python_example_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_every_yaml_example_is_a_mapping(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


def test_the_endpoints_file_of_the_readme_is_one_that_the_daemon_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daemon.config.settings import load

    (block,) = blocks("yaml", README)
    file = tmp_path / "endpoints.yml"
    file.write_text(block.text)
    settings = load(file, {"REDIS_HOST": "localhost", "REDIS_PASSWORD": "secret"})
    create_store(settings.lock_store, settings.daemon.limits)


def test_the_fencing_example_holds_what_it_asserts() -> None:
    (block,) = blocks("python", GUARANTEES)
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})


def test_the_methods_of_direct_use_are_there_with_these_arguments() -> None:
    (methods,) = tables(section(LOCK_STORES, "Use without the daemon"))
    for row in methods:
        for code in codes(row["method"]):
            called = re.fullmatch(r"(\w+)\((.*)\)", code)
            assert called, code
            parameters = list(inspect.signature(getattr(LockStore, called[1])).parameters)
            assert parameters == ["self", *called[2].split(", ")]


def sqlite_section() -> dict[str, Any]:
    """Give the `lock_store` section that the page shows for its SQLite store."""
    shown = [yaml.safe_load(block.text)["lock_store"] for block in blocks("yaml", CUSTOM_STORES)]
    (options,) = (section for section in shown if section["type"].endswith(".SqliteLockStore"))
    return dict(options)


def example_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LockStore:
    """Build the SQLite store of docs/custom-stores.md from the section that stands below it."""
    block = next(block for block in blocks("python", CUSTOM_STORES) if "class SqliteLockStore" in block.text)
    options = sqlite_section()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, options["type"].partition(".")[0], raising=False)
    (tmp_path / f"{options['type'].partition('.')[0]}.py").write_text(block.text)
    return create_store(options | {"path": str(tmp_path / options["path"])}, Limits())


async def test_the_custom_store_of_the_page_serves_in_order_and_never_gives_a_number_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = example_store(tmp_path, monkeypatch)
    entered: list[int] = []

    async def enter() -> None:
        async with store.lock("user-42", wait_time_in_seconds=0.05) as line:
            entered.append(line.now_serving)

    await asyncio.gather(*(enter() for _ in range(5)))
    await enter()
    assert entered == [0, 1, 2, 3, 4, 5]
    assert not await store.is_someone_waiting("user-42")
    await store.close()


async def test_the_custom_store_of_the_page_keeps_the_number_of_a_lock_that_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = example_store(tmp_path, monkeypatch)
    await call_maybe_async(store.save_lock, TicketLock("x", [Ticket(3, 1.5)]))
    assert (await call_maybe_async(store.get_lock, "x")).tickets[0].number == 3
    await call_maybe_async(store.delete_lock, "x")
    assert not await store.is_someone_waiting("x")
    assert await store.issue_ticket("x") == 4
    await store.close()


@pytest.mark.parametrize(
    "line", ["{", "7", "[]", '{"tickets": []}', json.dumps({"conversation_id": "x", "tickets": 1})]
)
async def test_a_damaged_row_of_the_custom_store_of_the_page_is_refused_and_the_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    store = example_store(tmp_path, monkeypatch)
    await store.open()
    database = sqlite3.connect(tmp_path / "locks.db", isolation_level=None)
    database.execute("INSERT INTO locks VALUES ('damaged', ?, 0)", (line,))
    damaged, served = await store.apply([Request(name, "r", 1000, 0) for name in ("damaged", "user-42")])
    assert isinstance(damaged, ConversationError)
    assert not isinstance(served, ConversationError)
    database.close()
    await store.close()


async def test_what_the_storage_of_the_page_raises_means_that_it_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = example_store(tmp_path, monkeypatch)
    (tmp_path / "locks.db").write_text("this is no database, however often one looks at it")
    with pytest.raises(StoreUnavailableError, match=r"locks\.db: file is not a database"):
        await store.apply([Request("user-42", "r", 1000, 0)])
    with pytest.raises(StoreUnavailableError, match=r"locks\.db: file is not a database"):
        await store.issue_ticket("user-42")
    await store.close()


async def test_the_command_of_the_guarantees_has_numbers_begin_above_all_that_were_given(
    redis_server: RedisServer, namespace: str
) -> None:
    [shown] = [block for block in blocks("sh", GUARANTEES) if "redis-cli" in block.text]
    command = replaced(shown.text, "redis-cli", f"redis-cli -p {redis_server.port}")
    subprocess.run(["sh", "-c", replaced(command, '"conc', f'"{namespace}:conc')], check=True, capture_output=True)
    place = {"host": redis_server.host, "port": redis_server.port, "key_prefix": namespace}
    store = create_store({"type": "concurrent_redis", **place}, Limits())
    await store.open()
    began_ms = time.time_ns() // 1_000_000
    for conversation in ("user-42", "user-43"):
        assert await store.issue_ticket(conversation) >= began_ms
    await store.close()


async def run_python(*argv: str) -> str:
    """Run Python from the checkout as a user does, and give what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *argv, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode()
    assert process.returncode == 0, text
    return text


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the example has no {old}"
    return text.replace(old, new)


@pytest.fixture
def config(rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str) -> dict[str, Any]:
    """Give configs/standard.yml, on this run's servers."""
    loaded: dict[str, Any] = yaml.safe_load((CHECKOUT / "configs" / "standard.yml").read_text())
    loaded["lock_store"] |= {"host": redis_server.host, "port": redis_server.port, "key_prefix": namespace}
    loaded["broker"] |= {"url": rabbitmq.url, "namespace": namespace}
    return loaded


async def test_the_examples_run_against_a_daemon(
    config: dict[str, Any], start_daemon: DaemonMaker, rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str
) -> None:
    await start_daemon(config)

    (shown,) = blocks("python", README)
    client = f'"{rabbitmq.url}", namespace="{namespace}"'
    printed = await run_python("-c", replaced(shown.text, '"amqp://guest:guest@localhost/"', client))
    assert printed == "user-42 is ours; the fencing token is 1\n"

    printed = await run_python(str(RAW), "user-42", "--url", rabbitmq.url, "--namespace", namespace)
    assert "it is our turn, ticket 2;" in printed
    assert printed.splitlines()[-1].startswith('<- {"type":"released"')

    direct = next(block for block in blocks("python", LOCK_STORES) if "create_store" in block.text)
    place = f'"host": "{redis_server.host}", "port": {redis_server.port}, "key_prefix": "{namespace}"'
    printed = await run_python("-c", replaced(direct.text, '"host": "localhost"', place))
    assert printed == "user-42 is ours; the fencing token is 3\n"


async def test_the_raw_example_tells_when_it_gets_no_lock(
    config: dict[str, Any], start_daemon: DaemonMaker, rabbitmq: RabbitMQ, namespace: str
) -> None:
    await start_daemon(config | {"daemon": {"max_wait": 5, "wait": 5}})  # less than the example wants to wait
    with pytest.raises(AssertionError, match="no lock: rejected, invalid"):
        await run_python(str(RAW), "user-42", "--url", rabbitmq.url, "--namespace", namespace)


async def test_a_daemon_serves_on_the_custom_store_of_the_page_and_its_numbers_outlive_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_daemon: DaemonMaker,
    rabbitmq: RabbitMQ,
    namespace: str,
) -> None:
    await example_store(tmp_path, monkeypatch).close()
    options = sqlite_section()
    section_of_store = options | {"path": str(tmp_path / options["path"])}
    config = {"lock_store": section_of_store, "broker": {"url": rabbitmq.url, "namespace": namespace}}
    daemon = await start_daemon(config, env={"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"})
    numbers = []
    async with LockClient(rabbitmq.url, namespace=namespace) as locks:
        async with locks.lock("user-42", wait=10) as ticket:
            numbers.append(ticket.number)
        await daemon.restart()
        async with locks.lock("user-42", wait=10) as ticket:
            numbers.append(ticket.number)
        with pytest.raises(RefusedError, match="conversation_id"):
            async with locks.lock(""):
                pass
    assert numbers == [0, 1]


def test_the_raw_example_needs_nothing_of_ours() -> None:
    imported = set(re.findall(r"^(?:import|from) (\w+)", RAW.read_text(), re.MULTILINE))
    assert imported <= {"argparse", "asyncio", "json", "uuid", "zlib", "typing", "aio_pika"}


def test_what_the_readme_serves_with_is_there() -> None:
    shown = "\n".join(block.text for block in blocks("sh", README))
    for file in re.findall(r"--config (\S+)", shown):
        assert (CHECKOUT / file).exists()
    assert bare("`lockstore serve --endpoints endpoints.yml`") in shown
