"""`make test-rasa`: two real Rasa servers on one conversation and on ten, with their own Redis lock store and with the daemon.

Exit code: 0 with the daemon all went well, 1 not so.
"""

import argparse
import asyncio
import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from harness import DaemonProcess, RabbitMQ, RedisServer
from tests.rasa.real.actions import ActionServer
from tests.rasa.real.messages import Sent, Verdict, judge, send
from tests.rasa.real.servers import RasaServer

BOT = Path(__file__).parent / "bot"
NAMES = ("a", "b")
RASAS = "Rasa's redis"
OURS = "QueueLockStore"
EVERY_S = 0.025  # 20 messages in half a second; each takes more than a tenth of one
LEASE_S = 10  # ours; whoever comes after a killed server waits for it
WAIT_S = 300.0  # the daemon's default, and as long do senders wait for an answer
RASAS_LIFETIME_S = 60  # Rasa's default: it is the wait, too, so a shorter one drops messages
ROUNDS = 3

Fault = Callable[[], Coroutine[Any, Any, None]]


class Bench:
    """Two Rasa servers with one lock store, and what they need."""

    def __init__(
        self, python: Path, model: Path, rabbitmq: RabbitMQ, redis: RedisServer, actions: ActionServer
    ) -> None:
        self._python, self._model = python, model
        self.rabbitmq, self._redis, self._actions = rabbitmq, redis, actions
        self.servers: list[RasaServer] = []
        self._store, self._limit_s = "", 0.0
        self._round = 0
        self.rows: list[tuple[str, str, Verdict]] = []

    async def start(self, store: str, section: dict[str, Any], stack: AsyncExitStack) -> None:
        """Start two servers whose locks come from this section."""
        lifetime_s, self._limit_s = (RASAS_LIFETIME_S, RASAS_LIFETIME_S) if store == RASAS else (LEASE_S, WAIT_S)
        self._store = store
        tracker = {"type": "redis", "url": self._redis.host, "port": self._redis.port, "db": 3}
        for name in NAMES:
            endpoints = {
                "lock_store": section,
                "tracker_store": tracker,
                "action_endpoint": {"url": self._actions.url(name)},
            }
            server = RasaServer(self._python, self._model, f"rasa-{name}", endpoints, lifetime_s)
            stack.push_async_callback(server.close)
            await server.start()
            self.servers.append(server)

    async def measure(
        self, scenario: str, conversations: int, every_s: float = EVERY_S, fault: Fault | None = None
    ) -> None:
        """Send 20 messages to each conversation, with a fault meanwhile, and note what became of them."""
        self._round += 1
        names = [f"talk-{self._round}-{number}" for number in range(conversations)]
        messages = [
            Sent(name, f"work {number}", first_server=number + place)
            for number in range(20)
            for place, name in enumerate(names)
        ]
        before, began = len(self._actions.handled), time.monotonic()
        async with asyncio.TaskGroup() as group:
            if fault is not None:
                group.create_task(fault())
            await send(messages, self.servers, every_s / conversations, self._limit_s)
            seconds = time.monotonic() - began
        verdict = await judge(messages, self._actions.handled[before:], self.servers[0], seconds)
        self.rows.append((self._store, scenario, verdict))
        print(row(*self.rows[-1]), flush=True)

    async def message_ms(self) -> float:
        """Return the median of an uncontended message without an action."""
        times = []
        async with aiohttp.ClientSession() as session:
            for number in range(60):
                began = time.perf_counter()
                body = {"sender": f"{self._store}-calm", "message": f"hello {number}"}
                async with session.post(f"{self.servers[0].url}/webhooks/rest/webhook", json=body) as response:
                    assert await response.json()
                times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times[10:])

    async def load_models(self) -> None:
        """Load the model once more into both servers, which then create a second lock store each."""
        async with aiohttp.ClientSession() as session:
            for server in self.servers:
                async with session.put(f"{server.url}/model", json={"model_file": str(self._model)}) as response:
                    assert response.status == 204

    async def when_busy(self, end: Callable[[RasaServer], Awaitable[object]]) -> None:
        """Wait until the second server handles a message, end it with that, and start it again later."""
        victim = self.servers[1]
        await self._actions.busy(NAMES[1], len(self._actions.handled))
        await end(victim)
        await victim.start()


def row(store: str, scenario: str, verdict: Verdict) -> str:
    """Return a line of the table."""
    cells = (verdict.overlaps, verdict.out_of_order, verdict.lost, verdict.empty, verdict.stuck, verdict.failed)
    return f"| {store:22} | {scenario:42} | {verdict.messages:8} | {verdict.seconds:7.1f} |" + "".join(
        f" {cell:8} |" for cell in cells
    )


HEADER = (
    f"| {'locks':22} | {'20 messages to each conversation':42} | messages | seconds | overlaps | disorder |     lost |"
    " empty [] |    stuck |   resent |"
)


def trained(python: Path, models: Path) -> Path:
    """Return the model of the bot, trained if its files have changed."""
    files = sorted(BOT.rglob("*.yml"))
    name = f"bot-{hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:12]}"
    model = models / f"{name}.tar.gz"
    if model.exists():
        return model
    print("training the bot", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(BOT, folder, dirs_exist_ok=True)
        command = [str(python), "-W", "ignore", "-m", "rasa", "train", "--out", str(models), "--fixed-model-name", name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"training failed: {done.stderr[-4000:]}")
    return model


async def main(python: Path, model: Path, *, only_ours: bool) -> int:
    """Run all scenarios, print the table, and return the exit code."""
    async with AsyncExitStack() as stack:
        rabbitmq = await stack.enter_async_context(RabbitMQ())
        redis = await stack.enter_async_context(RedisServer())
        actions = await stack.enter_async_context(ActionServer())
        bench = Bench(python, model, rabbitmq, redis, actions)
        print(HEADER, flush=True)
        calm = {} if only_ours else {RASAS: await _rasas_own(bench, redis)}
        calm[OURS] = await _ours(bench, rabbitmq, redis)
    print()
    print(HEADER)
    for each in bench.rows:
        print(row(*each))
    print()
    for store, milliseconds in calm.items():
        print(f"one message without an action, nobody else there, {store}: {milliseconds:.1f} ms (median of 50)")
    return 0 if all(_is_well(scenario, verdict) for store, scenario, verdict in bench.rows if store == OURS) else 1


def _is_well(scenario: str, verdict: Verdict) -> bool:
    # What misses its turn while RabbitMQ is away goes to the end of the line.
    return verdict.is_well and (not verdict.out_of_order or "RabbitMQ" in scenario)


async def _rasas_own(bench: Bench, redis: RedisServer) -> float:
    async with AsyncExitStack() as stack:
        section = {"type": "redis", "url": redis.host, "port": redis.port, "db": 2}
        await bench.start(RASAS, section, stack)
        calm = await bench.message_ms()
        await _rounds(bench)
        bench.servers.clear()
    return calm


async def _ours(bench: Bench, rabbitmq: RabbitMQ, redis: RedisServer) -> float:
    daemon = {
        "lock_store": {"type": "concurrent_redis", "host": redis.host, "port": redis.port, "db": 4},
        "broker": {"url": rabbitmq.url},
    }
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(DaemonProcess(daemon))
        section = {"type": "lockstore.rasa.QueueLockStore", "url": rabbitmq.url}
        await bench.start(OURS, section, stack)
        calm = await bench.message_ms()
        await _rounds(bench)
        await bench.measure("one, a holder killed (SIGKILL)", 1, fault=lambda: bench.when_busy(RasaServer.kill))
        await bench.measure("one, a server stopped (SIGTERM)", 1, fault=lambda: bench.when_busy(_stop))
        await bench.measure("one, models loaded (PUT /model)", 1, fault=bench.load_models)
        await bench.measure("one, RabbitMQ restarted", 1, fault=rabbitmq.restart)
        await bench.measure("ten, RabbitMQ restarted", 10, fault=rabbitmq.restart)
        bench.servers.clear()
    return calm


async def _stop(server: RasaServer) -> None:
    await server.stop()
    if "closed the connections of the lock store" not in server.log.read_text():
        raise RuntimeError(f"{server.name} was stopped and did not close its lock store: {server.log}")


async def _rounds(bench: Bench) -> None:
    for number in range(1, ROUNDS + 1):
        await bench.measure(f"one, all at once, round {number}", 1, every_s=0.0)
    await bench.measure("one, in half a second", 1)
    await bench.measure("ten, in half a second", 10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.rasa.real", description=__doc__)
    parser.add_argument(
        "--python", type=Path, required=True, help="the interpreter of an environment with Rasa and lockstore"
    )
    parser.add_argument("--only-ours", action="store_true", help="leave out Rasa's own lock store")
    parser.add_argument("--models", type=Path, required=True, help="the folder where the trained model is kept")
    given = parser.parse_args()
    model = trained(given.python, given.models.resolve())
    sys.exit(asyncio.run(main(given.python, model, only_ours=given.only_ours)))
