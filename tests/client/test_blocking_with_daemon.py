"""The blocking client in programs as they are: forked workers, a WSGI server, and one that is interrupted."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import pytest

from harness import RabbitMQ
from lockstore.client import LockClient
from tests.client.blocking_programs import ROUNDS, WORKERS
from tests.client.stand_in import StandIn
from tests.conftest import DaemonMaker

CHECKOUT = Path(__file__).parents[2]
PATIENCE_S = 100.0


async def start(name: str, url: str, namespace: str, folder: Path) -> Process:
    argv = (sys.executable, "-m", "tests.client.blocking_programs", name, url, namespace, str(folder))
    return await asyncio.create_subprocess_exec(*argv, cwd=CHECKOUT, stdout=PIPE, stderr=PIPE)


async def finished(program: Process) -> str:
    """Give what a program printed, which must have ended well."""
    printed, complaints = await asyncio.wait_for(program.communicate(), PATIENCE_S)
    assert program.returncode == 0, complaints.decode()
    return printed.decode()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_forked_workers_and_threads_of_a_wsgi_server_take_their_turns(
    config: dict[str, Any], start_daemon: DaemonMaker, tmp_path: Path
) -> None:
    await start_daemon(config)
    broker = config["broker"]
    (tmp_path / "wsgi").mkdir()
    (tmp_path / "prefork").mkdir()
    workers = await finished(await start("prefork", broker["url"], broker["namespace"], tmp_path / "prefork"))
    assert workers.strip() == f"{[0] * (WORKERS + 1)} {WORKERS * ROUNDS}"
    requests = await finished(await start("wsgi", broker["url"], broker["namespace"], tmp_path / "wsgi"))
    assert requests.strip() == "20"
    async with LockClient(broker["url"], namespace=broker["namespace"]) as others:
        for conversation in ("talk", "the parent's"):  # nothing was left behind
            async with others.lock(conversation, wait=0):
                pass


async def test_an_interrupt_while_waiting_leaves_the_line(rabbitmq: RabbitMQ, namespace: str, tmp_path: Path) -> None:
    async with StandIn(rabbitmq.url, namespace, limit_s=PATIENCE_S) as daemon:
        program = await start("interrupted", rabbitmq.url, namespace, tmp_path)
        asked = await daemon.take("request")
        program.send_signal(signal.SIGINT)
        given_back = await daemon.take("release")
        assert given_back["request_id"] == asked["request_id"]
        printed, complaints = await asyncio.wait_for(program.communicate(), PATIENCE_S)
        assert printed == b""
        assert complaints.decode().strip().endswith("KeyboardInterrupt")
        assert program.returncode == -signal.SIGINT
