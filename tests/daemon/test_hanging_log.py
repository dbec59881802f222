"""A daemon whose log nobody reads or takes serves on, and ends when it is told to."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness import RabbitMQ
from harness.ports import LOOPBACK, free_port
from tests.support.bot import Bot

PATIENCE_S = 90.0
# Two or three lines may wait.
DAEMON = (
    "from daemon.monitoring import log_output as log; log._BACKLOG_BYTES = 400; from daemon.cli.app import main; main()"
)


class Daemon:
    """A process whose standard error is what a shell makes of `redirection`."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._url = f"http://{LOOPBACK}:{port}"

    async def answers(self, path: str) -> str:
        """Wait for a good answer."""
        async with aiohttp.ClientSession() as client, asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(aiohttp.ClientError):
                    async with client.get(self._url + path) as answer:
                        if answer.status == 200:
                            return await answer.text()
                assert self.process.returncode is None
                await asyncio.sleep(0.1)

    async def lines_lost(self) -> int:
        metrics = (await self.answers("/metrics")).splitlines()
        return next(
            int(float(line.split()[1])) for line in metrics if line.startswith("lockstore_log_lines_lost_total ")
        )

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


@asynccontextmanager
async def serving(
    rabbitmq: RabbitMQ, namespace: str, folder: Path, redirection: str, stderr: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[Daemon]:
    port = free_port()
    config: dict[str, Any] = {
        "lock_store": {"type": "in_memory"},
        "broker": {"url": rabbitmq.url, "namespace": namespace},
        "daemon": {"http": f"{LOOPBACK}:{port}"},
    }
    file = folder / "endpoints.yml"
    file.write_text(json.dumps(config))
    argv = [
        "bash",
        "-c",
        f'exec "$@" {redirection}',
        "bash",
        sys.executable,
        "-c",
        DAEMON,
        "serve",
        "--config",
        str(file),
    ]
    process = await asyncio.create_subprocess_exec(*argv, stderr=stderr)
    try:
        daemon = Daemon(process, port)
        await daemon.answers("/readyz")
        async with Bot(rabbitmq.url, namespace) as bot:
            await bot.lock("c")
        yield daemon
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(("redirection", "is_lost"), [("2> /dev/full", True), ("2>&-", False)])
async def test_a_daemon_serves_and_ends_when_its_log_cannot_be_written(
    redirection: str, *, is_lost: bool, rabbitmq: RabbitMQ, namespace: str, tmp_path: Path
) -> None:
    async with serving(rabbitmq, namespace, tmp_path, redirection) as daemon:
        assert (await daemon.lines_lost() > 0) is is_lost
        assert await daemon.end() == 0


def fill(pipe: int) -> None:
    """Write until a pipe takes no more."""
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"filler\n")
    os.set_blocking(pipe, True)


def read_until_loss(pipe: int) -> dict[str, Any]:
    """Read a pipe until the report of lines that were lost."""
    text = b""
    while b'"log.lines_lost"' not in text or not text.endswith(b"\n"):
        text += os.read(pipe, 100_000)
    found: dict[str, Any] = json.loads(next(line for line in text.splitlines() if b'"log.lines_lost"' in line))
    return found


async def test_a_daemon_serves_and_ends_when_nobody_reads_its_log_and_tells_who_comes_how_much_was_lost(
    rabbitmq: RabbitMQ, namespace: str, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    fill(writing)
    async with serving(rabbitmq, namespace, tmp_path, "", stderr=writing) as daemon:
        while await daemon.lines_lost() < 3:
            daemon.process.send_signal(signal.SIGHUP)  # it logs that
            await asyncio.sleep(0.1)
        report = await asyncio.wait_for(asyncio.to_thread(read_until_loss, reading), PATIENCE_S)
        assert report["lines"] >= 3
        fill(writing)
        assert await daemon.end() == 0
    os.close(reading)
    os.close(writing)
