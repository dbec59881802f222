"""What the tests of a migration share: a database of their own, and `lockstore purge` as a process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from harness import RedisServer

RunPurge = Callable[..., subprocess.CompletedProcess[str]]

DATABASE = 7
"""No other test writes here, so that a test may do without a key_prefix, as most Rasa users do."""


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Look at this database, which is empty before and after."""
    with redis.Redis(host=redis_server.host, port=redis_server.port, db=DATABASE) as plain:
        plain.flushdb()
        yield plain
        plain.flushdb()


@pytest.fixture
def on_redis(redis_server: RedisServer) -> dict[str, Any]:
    """Give the options of a store in this database, without a key_prefix."""
    return {"host": redis_server.host, "port": redis_server.port, "db": DATABASE}


@pytest.fixture
def purge_command(tmp_path: Path) -> Callable[..., list[str]]:
    """Give the command line of a purge, with a section as its configuration."""

    def command(section: dict[str, Any], *argv: str) -> list[str]:
        file = tmp_path / "endpoints.yml"
        file.write_text(yaml.safe_dump({"lock_store": section}))
        return [sys.executable, "-m", "daemon", "purge", "--config", str(file), *argv]

    return command


@pytest.fixture
def purge(purge_command: Callable[..., list[str]]) -> RunPurge:
    """Run `lockstore purge` on a section to its end."""

    def run(section: dict[str, Any], *argv: str) -> subprocess.CompletedProcess[str]:
        command = purge_command(section, *argv)
        env = {**os.environ, "COLUMNS": "100"}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)

    return run


def told(purge: RunPurge, section: dict[str, Any], *argv: str) -> dict[str, Any]:
    """Purge with --json; the one object is all that is printed."""
    run = purge(section, "--json", *argv)
    assert run.stderr == ""
    (line,) = run.stdout.splitlines()
    said: dict[str, Any] = json.loads(line)
    assert run.returncode == (1 if said["left"]["count"] or said["interrupted"] or said["error"] else 0)
    return said
