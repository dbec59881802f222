"""The example clients in TypeScript, Ruby and PHP stand in one line with Python's, and do what docs/protocol.md asks of a client."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from harness import DaemonProcess, RabbitMQ, RedisServer
from lockstore.client import LockClient
from tests.conftest import shared_config
from tests.support.bot import Bot
from tests.support.node import CHECKOUT, EXAMPLE, run, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

TIMES = 10
NAMESPACE = "languages"
NO_NODE = why_not(EXAMPLE)
NO_PHP = (
    ""
    if shutil.which("php") and Path("/usr/share/php/PhpAmqpLib").exists()
    else "there is no php with php-amqplib here"
)
PYTHON = """
import asyncio, sys
from lockstore.client import LockClient

async def main(url, namespace, times, log):
    async with LockClient(url, namespace=namespace, partitions=2) as locks:
        for _ in range(int(times)):
            async with locks.lock("line", wait=600, lifetime=120) as ticket:
                with open(log, "a") as file: file.write(f"begin {ticket.number} python\\n")
                await asyncio.sleep(0.05)
                with open(log, "a") as file: file.write(f"end {ticket.number} python\\n")

asyncio.run(main(*sys.argv[1:]))
"""


def no_ruby() -> str:
    found = shutil.which("ruby") and subprocess.run(["ruby", "-e", "require 'bunny'"], check=False, capture_output=True)
    return "" if found and found.returncode == 0 else "there is no ruby with bunny here"


NO_RUBY = no_ruby()


class Servers:
    def __init__(self, broker: RabbitMQ, daemon: DaemonProcess) -> None:
        self.broker, self.daemon = broker, daemon


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(redis_server: RedisServer) -> AsyncIterator[Servers]:
    """A broker of their own, for it is restarted, and one daemon."""
    async with RabbitMQ() as broker:
        config = shared_config(broker, redis_server, NAMESPACE)
        config["broker"]["partitions"] = 2
        async with DaemonProcess(config) as daemon:
            yield Servers(broker, daemon)


@pytest.fixture(scope="module")
def built() -> None:
    if NO_NODE:
        pytest.skip(NO_NODE)
    run(EXAMPLE / "node_modules" / ".bin" / "tsc", "--project", EXAMPLE)


async def start(*command: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def finish(process: asyncio.subprocess.Process) -> None:
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def lines_of(log: Path, pattern: str) -> int:
    return len(re.findall(pattern, log.read_text(), re.MULTILINE))


async def until(log: Path, pattern: str, count: int = 1, *running: asyncio.subprocess.Process) -> None:
    while lines_of(log, pattern) < count:
        for process in running:
            if process.returncode:
                await finish(process)
        await asyncio.sleep(0.02)


def check_order(log: Path, killed: str) -> dict[str, int]:
    """Check that nobody worked while another did, and that the numbers only rose; return how often each held the lock."""
    held: dict[str, int] = {}
    holder: tuple[str, str] | None = None
    last = -1
    for line in log.read_text().splitlines():
        what, number, name = line.split()
        if what == "end":
            assert holder == (number, name), f"{line}, but the holder is {holder}"
            holder = None
            continue
        assert holder is None or holder[1] == killed, f"{line}, while {holder} holds"
        assert int(number) > last, line
        holder, last = (number, name), int(number)
        held[name] = held.get(name, 0) + 1
    assert holder is None
    return held


def programs(broker: RabbitMQ, log: Path) -> dict[str, list[str | Path]]:
    """Return the program of each language that is here."""
    found: dict[str, list[str | Path]] = {
        "python": [sys.executable, "-c", PYTHON, broker.url, NAMESPACE, str(TIMES), log]
    }
    if not NO_NODE:
        found["node"] = node_bot(
            broker, log, "--name", "node", "--times", str(TIMES), "--lifetime", "120", "--work", "0.05"
        )
    if not NO_RUBY:
        found["ruby"] = [
            "ruby",
            CHECKOUT / "examples/ruby/lockstore.rb",
            broker.url,
            NAMESPACE,
            "line",
            str(TIMES),
            log,
        ]
    if not NO_PHP:
        script = CHECKOUT / "examples/php/lockstore.php"
        found["php"] = ["php", script, broker.host, str(broker.port), NAMESPACE, "line", str(TIMES), log]
    return found


def node_bot(broker: RabbitMQ, log: Path, *options: str) -> list[str | Path]:
    place: list[str | Path] = ["--url", broker.url, "--namespace", NAMESPACE, "--conversation", "line", "--log", log]
    return ["node", EXAMPLE / "dist" / "bot.js", *place, *options]


async def test_clients_of_several_languages_stand_in_one_line_through_kills_and_a_restart_of_the_broker(
    servers: Servers, built: None, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    log.touch()
    doomed = await start(*node_bot(servers.broker, log, "--name", "doomed", "--lifetime", "2", "--work", "600"))
    await until(log, "^begin .* doomed$", 1, doomed)
    commands = programs(servers.broker, log)
    commands.pop("ruby", None)  # Bunny may wait for ever when a connection is lost; the example takes its turns below
    running = [await start(*command) for command in commands.values()]
    with suppress(ProcessLookupError):  # a machine that pauses may have cost it its lease already
        doomed.kill()  # while it holds: the others wait until its lease has ended
    await doomed.communicate()
    await until(log, "^end ", TIMES, *running)
    await servers.daemon.kill()
    await servers.daemon.start()
    await until(log, "^end ", 2 * TIMES, *running)
    await servers.broker.restart()
    await asyncio.gather(*map(finish, running))
    assert check_order(log, "doomed") == dict.fromkeys(commands, TIMES) | {"doomed": 1}
    print(f"languages: {', '.join(commands)}")


@pytest.mark.parametrize(
    "language",
    [
        pytest.param("node", marks=pytest.mark.skipif(bool(NO_NODE), reason=NO_NODE)),
        pytest.param("ruby", marks=pytest.mark.skipif(bool(NO_RUBY), reason=NO_RUBY)),
        pytest.param("php", marks=pytest.mark.skipif(bool(NO_PHP), reason=NO_PHP)),
    ],
)
async def test_the_example_in_this_language_takes_its_turns(
    servers: Servers, built: None, tmp_path: Path, language: str
) -> None:
    log = tmp_path / "log.txt"
    log.touch()
    await finish(await start(*programs(servers.broker, log)[language]))
    assert check_order(log, "nobody") == {language: TIMES}


async def play(servers: Servers, scene: str) -> asyncio.subprocess.Process:
    script = CHECKOUT / "tests/client/node_client.mjs"
    return await start("node", script, scene, servers.broker.url, NAMESPACE)


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    return line.strip() or (await process.communicate())[0].decode()


def go_on(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")


@pytest.mark.parametrize(
    "scene",
    [
        "a wait that is cancelled leaves the line",
        "what is refused has a reason, and a wait ends",
        "a wrong number of partitions is put right",
    ],
)
async def test_the_client_for_node_does_this(servers: Servers, built: None, scene: str) -> None:
    await finish(await play(servers, scene))


async def test_the_client_for_node_hears_that_another_one_ended_its_lease(servers: Servers, built: None) -> None:
    process = await play(servers, "a lease that another one ends is lost")
    number = int(await line_of(process))
    async with Bot(servers.broker.url, NAMESPACE) as bot:
        await bot.say("release", "stolen", ticket_number=number, partition=1)
        await bot.say("release", "stolen", ticket_number=number, partition=0)
        go_on(process)
        await finish(process)


async def test_the_client_for_node_stops_in_time_when_no_daemon_renews_its_lease(servers: Servers, built: None) -> None:
    process = await play(servers, "a lease that nobody renews is lost in time")
    assert await line_of(process) == "warm"
    go_on(process)
    assert await line_of(process) == "freeze"
    servers.daemon.pause()
    try:
        go_on(process)
        assert await line_of(process) == "lost"
    finally:
        servers.daemon.resume()
    # Who waits gets the lock when the lease has ended for the store, too.
    async with (
        LockClient(servers.broker.url, namespace=NAMESPACE, partitions=2) as locks,
        locks.lock("frozen", wait=60),
    ):
        go_on(process)
    await finish(process)
