"""SIGTERM ends the daemon within `stop_timeout` plus two seconds, whatever it waits for just now."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from harness import DaemonProcess, RabbitMQ, RedisServer
from tests.support.bot import Bot

STOP_S = 2.0
PATIENCE_S = 30.0


class Scene:
    """One daemon, and servers that this test may stop."""

    def __init__(self, stack: AsyncExitStack, node: RabbitMQ, redis: RedisServer, config: dict[str, Any]) -> None:
        self.stack, self.node, self.redis = stack, node, redis
        self.daemon = DaemonProcess(config)
        self.namespace = config["broker"]["namespace"]

    async def logged(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.daemon.events(event):
                await asyncio.sleep(0.02)

    async def ask(self) -> None:
        async with Bot(self.node.url, self.namespace) as bot:
            await bot.request("c")
            await asyncio.sleep(0.5)

    def begin(self) -> None:
        starting = asyncio.create_task(self.daemon.start())
        self.stack.callback(starting.cancel)

    def seconds(self) -> float:
        """Give how long the stop took, by the daemon's own log."""
        stamps = [
            datetime.fromisoformat(line["timestamp"])
            for line in self.daemon.log_lines()
            if line["event"] in ("daemon.stopping", "daemon.stopped", "daemon.stop_overdue")
        ]
        assert len(stamps) > 1
        return (stamps[-1] - stamps[0]).total_seconds()


@pytest_asyncio.fixture
async def scene(rabbitmq: RabbitMQ, config: dict[str, Any]) -> AsyncIterator[Scene]:
    async with RedisServer() as redis, RabbitMQ() as node, AsyncExitStack() as stack:
        config["lock_store"]["port"], config["broker"]["url"] = redis.port, node.url
        config["daemon"] |= {"stop_timeout": STOP_S, "http": "127.0.0.1:0"}
        made = Scene(stack, node, redis, config)
        yield made
        node.process.resume()
        redis.process.resume()
        await made.daemon.close()


async def serving(scene: Scene) -> None:
    await scene.daemon.start()


async def store_silent_at_the_start(scene: Scene) -> None:
    scene.redis.process.pause()
    scene.begin()
    await scene.logged("http.listening")


async def broker_silent_at_the_start(scene: Scene) -> None:
    scene.node.process.pause()
    scene.begin()
    await scene.logged("http.listening")


async def store_away(scene: Scene) -> None:
    await scene.daemon.start()
    await scene.redis.stop()
    await scene.logged("store.unavailable")
    await scene.ask()


async def store_hanging_with_a_batch(scene: Scene) -> None:
    await scene.daemon.start()
    scene.redis.process.pause()
    await scene.ask()


async def broker_away(scene: Scene) -> None:
    await scene.daemon.start()
    await scene.node.kill()
    await scene.logged("broker.lost")


async def broker_hanging(scene: Scene) -> None:
    await scene.daemon.start()
    scene.node.process.pause()


async def broker_blocked(scene: Scene) -> None:
    await scene.daemon.start()
    await scene.node.ctl("set_vm_memory_high_watermark", "0.00001")


async def reloading(scene: Scene) -> None:
    await scene.daemon.start()
    os.kill(scene.daemon.pid, signal.SIGHUP)


STATES: list[Callable[[Scene], Awaitable[None]]] = [
    serving,
    store_silent_at_the_start,
    broker_silent_at_the_start,
    store_away,
    store_hanging_with_a_batch,
    broker_away,
    broker_hanging,
    broker_blocked,
    reloading,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_sigterm_ends_the_daemon_in_time(state: Callable[[Scene], Awaitable[None]], scene: Scene) -> None:
    await state(scene)
    os.kill(scene.daemon.pid, signal.SIGTERM)
    os.kill(scene.daemon.pid, signal.SIGTERM)  # a second one changes nothing
    code = await scene.daemon.process.wait(PATIENCE_S)
    overdue = scene.daemon.events("daemon.stop_overdue")
    assert code == (3 if overdue else 0)
    assert scene.seconds() <= STOP_S + 2
    if state is serving:
        assert not overdue
    assert "Traceback" not in scene.daemon.log.read_text()
