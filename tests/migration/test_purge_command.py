"""`lockstore purge` as its users see it: what it refuses, what it prints, and how it is broken off."""

import asyncio
import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import redis

from lockstore.stores.redis.keys import RedisKeys
from tests.docs.pages import CHECKOUT, blocks
from tests.migration.conftest import DATABASE, RunPurge, told
from tests.migration.leavings import used_store
from tests.support.rasa import rasas_value

MIGRATION = CHECKOUT / "docs" / "migration.md"
OLD_SPELLING = "rasa_plus.components.concurrent_lock_store.ConcurrentRedisLockStore"


@pytest.mark.parametrize(
    ("section", "argv", "said"),
    [
        pytest.param({"type": "redis"}, (), "the store redis is in use", id="redis"),
        pytest.param({"type": "redis"}, ("--store", "redis", "--yes"), "the store redis is in use", id="redis by name"),
        pytest.param(
            {"type": "concurrent_redis"},
            ("--store", "concurrent_redis"),
            "the store concurrent_redis is in use",
            id="other",
        ),
        pytest.param(
            {"type": OLD_SPELLING},
            ("--store", "concurrent_redis"),
            "the store concurrent_redis is in use",
            id="old name",
        ),
        pytest.param({}, (), "lock_store.type: is 'in_memory'", id="absent"),
        pytest.param({"type": "in_memory"}, (), "lock_store.type: is 'in_memory'", id="in memory"),
        pytest.param({"type": "no.such.Store", "host": "x"}, (), "lock_store.type: is 'no.such.Store'", id="custom"),
        pytest.param({"type": "reids"}, (), "lock_store.type: is 'reids'", id="mistyped"),
        pytest.param({"type": ["redis"]}, (), "lock_store.type: is", id="no text"),
        pytest.param({"type": "concurrent_redis", "prot": 3}, (), "lock_store.prot", id="unknown option"),
        pytest.param({"type": "concurrent_redis", "key_prefix": "a*"}, (), "lock_store.key_prefix", id="key_prefix"),
        pytest.param({"type": "concurrent_redis"}, ("--store", "in_memory"), "--store", id="no such store"),
    ],
)
@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["", "json"])
def test_what_may_not_be_purged_is_refused(
    section: dict[str, Any], argv: tuple[str, ...], said: str, json_too: tuple[str, ...], purge: RunPurge
) -> None:
    refused = purge(section, *argv, *json_too)
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.split())
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr


def test_a_configuration_must_be_named(purge_command: Callable[..., list[str]]) -> None:
    command = purge_command({})
    without = command[: command.index("--config")]
    refused = subprocess.run(without, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "--config" in refused.stderr


@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["", "json"])
def test_a_redis_that_is_away_is_told_in_one_line(json_too: tuple[str, ...], purge: RunPurge) -> None:
    away = purge({"type": "concurrent_redis", "port": 1, "password": "hidden"}, "--yes", *json_too)
    assert away.returncode == 1
    assert "Connection refused" in away.stdout + away.stderr or "Error 111" in away.stdout + away.stderr
    assert "Traceback" not in away.stderr
    assert "hidden" not in away.stdout + away.stderr
    if json_too:
        assert json.loads(away.stdout)["looked"] is False


async def test_the_table_says_what_there_is_and_what_to_think_of(
    client: redis.Redis, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    await used_store(on_redis | {"type": "redis"}, "user-1", "user-2", "user-3")
    client.set("lock:invoice", "5f2c")
    client.set("lock:\x1b[31mred\x1b[0m\n\u202e", "x")
    client.hset("lock:[bold]", "a", "b")
    run = purge(on_redis | {"type": "concurrent_redis"})
    assert run.returncode == 0
    assert run.stderr == ""
    assert all(len(line) <= 100 for line in run.stdout.splitlines())
    assert all(char.isprintable() for char in run.stdout.replace("\n", ""))
    text = " ".join(run.stdout.split())
    assert f"database {DATABASE}; no key_prefix" in text
    assert "lock lines, as Rasa writes them 2 lock:user-" in text
    assert "lock:invoice" in text
    assert "lock:[bold]" in text
    assert "lock:\\x1b[31mred\\x1b[0m\\n\\u202e" in text
    assert "WARNING: 4 tickets are still live." in text
    assert "if it is used again, its numbers start at 0 again" in text
    assert "Nothing was deleted. Give --yes to delete 10 keys." in text
    run = purge(on_redis | {"type": "concurrent_redis"}, "--yes")
    assert run.stdout.endswith("\nDeleted: 10 keys.\n")
    assert purge(on_redis | {"type": "concurrent_redis"}, "--yes").stdout.endswith("\nThere is nothing to delete.\n")


def test_a_terminal_sees_it_move(client: redis.Redis, on_redis: dict[str, Any], purge_command: Any) -> None:
    keys = RedisKeys()
    client.mset({keys.of(f"user-{number}").last: 5 for number in range(2000)})
    leader, follower = pty.openpty()
    command = purge_command(on_redis | {"type": "concurrent_redis"}, "--yes")
    env = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=env)
    os.close(follower)
    seen = b""
    try:
        while part := os.read(leader, 65_536):
            seen += part
    except OSError:
        pass  # the other end is closed
    os.close(leader)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    assert b"looking at" in seen
    assert b"deleting" in seen
    assert b"2000/2000" in seen
    assert b"Deleted: 2,000 keys." in out


def rights() -> list[str]:
    """Take from docs/migration.md what a user for it may do."""
    (block,) = [block for block in blocks("text", MIGRATION) if block.text.startswith("ACL SETUSER purger")]
    return block.text.split()[3:]


@pytest.mark.parametrize("without", [None, *rights()])
async def test_it_needs_the_rights_that_the_page_names_and_no_others(
    without: str | None, client: redis.Redis, on_redis: dict[str, Any], purge: RunPurge
) -> None:
    words = ["reset", "on", ">secret", "~lock:*", "~lockstore:*", "~concurrent_lock:*", "+select", *rights()]
    if without is not None:
        words.remove(without)
    client.execute_command("ACL", "SETUSER", "purger", *words)  # type: ignore[no-untyped-call]
    try:
        runs = []
        for kind, other in (("redis", "concurrent_redis"), ("concurrent_redis", "redis")):
            await used_store(on_redis | {"type": kind}, "x")
            section = on_redis | {"type": other, "username": "purger", "password": "secret"}
            runs.append(purge(section, "--store", kind, "--yes"))
            assert "Traceback" not in runs[-1].stderr
    finally:
        client.acl_deluser("purger")
    codes = {run.returncode for run in runs}
    assert codes == {0} if without is None else 1 in codes


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_purge_leaves_whole_lines_and_the_next_one_goes_on(
    how: signal.Signals, client: redis.Redis, on_redis: dict[str, Any], purge_command: Any, purge: RunPurge
) -> None:
    keys, count = RedisKeys(), 10_000
    lines = {keys.of(f"user-{number}"): f"user-{number}" for number in range(count)}
    with client.pipeline(transaction=False) as pipe:
        for line, conversation_id in lines.items():
            pipe.set(line.lock, rasas_value(conversation_id, (5, 1795459434.5)))
            pipe.set(line.last, 5)
        pipe.hset(keys.history(0), mapping={"run": "x", "least": "0"})
        pipe.execute()
    run = start(purge_command(on_redis | {"type": "concurrent_redis"}, "--yes"))
    while client.dbsize() == 2 * count + 1:
        assert run.poll() is None
    run.send_signal(how)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 1
    assert "Traceback" not in err
    left = set(client.scan_iter(count=1000))
    assert f"Deleted: {2 * count + 1 - len(left):,} of {2 * count + 1:,} keys." in out
    assert "Interrupted." in out
    assert keys.history(0).encode() in left
    assert all((line.lock.encode() in left) == (line.last.encode() in left) for line in lines)
    assert told(purge, on_redis | {"type": "concurrent_redis"}, "--yes")["deleted"] == len(left)
    assert client.dbsize() == 0


async def test_a_look_may_be_interrupted_at_once(purge_command: Any) -> None:
    asked = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read(-1)  # until the other side is gone; never answers
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        run = start(purge_command({"type": "concurrent_redis", "host": host, "port": port}, "--yes"))
        await asked.wait()
        run.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(run.communicate, timeout=60)
    assert run.returncode == 1
    assert "Nothing was deleted." in out
    assert "Interrupted." in out
    assert "Traceback" not in err
