"""One daemon for the tests of a module, and `lockstore` as a process, told where it is."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis
import yaml
from typer.testing import CliRunner

from daemon.cli.app import app
from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.client import LockClient
from lockstore.core.rules import Limits
from lockstore.factory import create_store
from tests.conftest import shared_config

LIMIT_S = 60.0


@dataclass
class Place:
    """A daemon, its configuration, and the command line beside it."""

    daemon: DaemonProcess
    config: dict[str, Any]
    file: Path

    def argv(self, command: str, *argv: str) -> list[str]:
        return [sys.executable, "-m", "daemon", command, "--config", str(self.file), *argv]

    def start(self, command: str, *argv: str, **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen(self.argv(command, *argv), **options)

    def run(self, command: str, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": LIMIT_S} | options
        return subprocess.run(self.argv(command, *argv), check=False, **options)

    def refusal(self, command: str, *argv: str) -> str:
        """Run what is refused before anything is done, in this process since it takes no other; give what it complains of."""
        refused = CliRunner().invoke(app, [command, "--config", str(self.file), *argv])
        assert (refused.exit_code, refused.stdout) == (2, "")
        start = f"lockstore {command}: "
        assert refused.stderr.startswith(start)
        assert refused.stderr.count("\n") == 1
        return refused.stderr.removeprefix(start)

    def changed(self, folder: Path, **sections: dict[str, Any] | None) -> "Place":
        """Give the same place with other options in some sections; None: without the section."""
        config = self.config | {name: (self.config[name] | given) if given else {} for name, given in sections.items()}
        file = folder / "changed.yml"
        file.write_text(yaml.safe_dump(config))
        return Place(self.daemon, config, file)

    def client(self) -> LockClient:
        broker = self.config["broker"]
        return LockClient(broker["url"], namespace=broker["namespace"])

    def lease_end(self, conversation: str) -> float:
        """Read from the store when the lease of this conversation ends, as things stand."""

        async def read() -> float:
            store = create_store(self.config["lock_store"], Limits())
            try:
                lock, _ = await store.view(conversation)
            finally:
                await store.close()
            assert lock is not None
            return lock.tickets[0].expires

        return asyncio.run(read())

    async def stand_in_line(self, conversation: str, tickets: int) -> None:
        """Wait until so many stand in this line."""
        store = create_store(self.config["lock_store"], Limits())
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    lock, _ = await store.read(conversation)
                    if len(lock.tickets if lock else ()) == tickets:
                        return
                    await asyncio.sleep(0.02)
        finally:
            await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(
    rabbitmq: RabbitMQ, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory, request: Any
) -> AsyncIterator[Place]:
    """Start a daemon that the tests of this module share; they keep apart by conversation."""
    namespace = request.module.__name__.rpartition(".")[2].replace("_", "")
    config = shared_config(rabbitmq, redis_server, namespace)
    file = tmp_path_factory.mktemp(namespace) / "endpoints.yml"
    file.write_text(yaml.safe_dump(config))
    async with DaemonProcess(config) as daemon:
        yield Place(daemon, config, file)


@pytest.fixture
def client_of_redis(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Administer the Redis that tests share."""
    with redis.Redis(host=redis_server.host, port=redis_server.port) as client:
        yield client
