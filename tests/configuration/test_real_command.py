"""The real commands end with exit code 2 for a file that cannot be, and a running daemon keeps the configuration that it has."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import DaemonProcess
from tests.configuration.loading import SECRET, write
from tests.conftest import DaemonMaker
from tests.support.bot import Bot

BROKEN: list[tuple[str, str]] = [
    ("lock_store:\ntype: redis\nhost: x\n", "indent"),
    ("lock_store: {type: redis}\nlock_store: {type: in_memory}\n", "line 2: lock_store is defined twice, in line 1 and in line 2"),
    (f"lock_store:\n  type: redis\n  password: !{SECRET}\n", "put it in quotes"),
    (f"lock_store:\n  type: redis\n  password: *{SECRET}\n", "put the value in quotes"),
    ("lock_store:\n  type: redis\n  port: '6379/'\n", 'without the \\"/\\" after them'),
    ("lock_store: {type: redis, host: 'redis://h?foo=bar'}\n", "only db, username and password are supported"),
    ("lock_store: {type: redis, host: 'rediss://h?ssl_cert_reqs=none'}\n", "certificate is always verified"),
    (f"broker: {{url: 'amqp://u:12#{SECRET}@host'}}\n", "percent-encoding"),
    ("broker: {ulr: x}\n", "did you mean broker.url?"),
    ('broker: {namespace: "a\\ud800"}\n', "an unpaired surrogate"),
    ("a: &a [*a]\n", "a recursive alias"),
    ("a: " + "[" * 10_000, "levels deep"),
    ("daemon: {lifetime: 1e400}\n", "daemon.lifetime: must be a finite number"),
]  # fmt: skip


def run(command: str, file: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "daemon", command, "--config", str(file)]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "COLUMNS": "500", **environ}
    )


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [*(("serve", *each) for each in BROKEN), *(("check", *each) for each in BROKEN[::4])],
)
def test_a_command_ends_with_2_and_one_line(command: str, text: str, said: str, tmp_path: Path) -> None:
    ended = run(command, write(tmp_path, text))
    assert ended.returncode == 2
    assert said in ended.stderr or said.replace("\\", "") in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert SECRET not in ended.stderr + ended.stdout


def test_a_lifetime_of_the_environment_that_is_none_ends_it_too(tmp_path: Path) -> None:
    ended = run("serve", write(tmp_path, "{}"), TICKET_LOCK_LIFETIME=f"6{SECRET}")
    assert ended.returncode == 2
    assert "TICKET_LOCK_LIFETIME: must be a number of seconds" in ended.stderr
    assert SECRET not in ended.stderr


async def refused_reload(daemon: DaemonProcess, content: str) -> str:
    """Have a daemon read a file that cannot be, and give what it says of that."""
    before = len(daemon.events("daemon.reload_refused"))
    write(daemon.config_file.parent, content).replace(daemon.config_file)
    os.kill(daemon.pid, signal.SIGHUP)
    async with asyncio.timeout(60):
        while len(daemon.events("daemon.reload_refused")) == before:
            await asyncio.sleep(0.02)
    return str(daemon.events("daemon.reload_refused")[-1]["error"])


async def test_a_daemon_that_reads_such_a_file_again_says_why_and_serves_on(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config)
    pid = daemon.pid
    for text, said in BROKEN:
        error = await refused_reload(daemon, text)
        assert error
        assert SECRET not in error
        if "lock_store" not in text:  # a store that is another one is refused for that
            assert said in error
    assert "the file is empty" in await refused_reload(daemon, "")
    daemon.config_file.unlink()
    os.mkfifo(daemon.config_file)
    os.kill(daemon.pid, signal.SIGHUP)
    async with asyncio.timeout(60):
        while "not a regular file" not in daemon.events("daemon.reload_refused")[-1]["error"]:
            await asyncio.sleep(0.02)
    assert daemon.pid == pid
    assert (await bot.lock("c"))["type"] == "granted"
