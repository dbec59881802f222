"""SIGTERM ends the daemon within `stop_timeout` plus two seconds, whatever it waits for just now."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from urllib.parse import urlsplit

import aio_pika
import pytest
import pytest_asyncio

from harness import DaemonProcess, RabbitMQ, RedisServer
from tests.conftest import shared_config
from tests.support.bot import Bot

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOP_S = 2.0
BEYOND_S = 2.0  # what a stop may take beyond `stop_timeout`
PATIENCE_S = 60.0
OK, OVERDUE = 0, 3


class Scene:
    """One daemon, and servers that a state may pause or end; they are as before when it is over."""

    def __init__(self, stack: AsyncExitStack, node: RabbitMQ, redis: RedisServer, namespace: str) -> None:
        self.stack, self.node, self.redis, self.namespace = stack, node, redis, namespace
        self.config = shared_config(node, redis, namespace)
        self.config["daemon"] |= {"stop_timeout": STOP_S, "http": "127.0.0.1:0"}
        self.daemon = DaemonProcess(self.config)

    async def logged(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.daemon.events(event):
                await asyncio.sleep(0.02)

    async def ask(self) -> None:
        """Have a batch in the daemon's hands: of one that is stuck with it, nothing more is to be seen."""
        async with Bot(self.node.url, self.namespace) as bot:
            await bot.request("c")
            await asyncio.sleep(0.5)

    async def begin(self) -> None:
        """Start, and do not wait until it serves."""
        starting = asyncio.create_task(self.daemon.start())
        self.stack.callback(starting.cancel)
        await self.logged("http.listening")

    def seconds(self) -> float:
        """Give how long the stop took, by the daemon's own log."""
        stamps = [
            datetime.fromisoformat(line["timestamp"])
            for line in self.daemon.log_lines()
            if line["event"] in ("daemon.stopping", "daemon.stopped", "daemon.stop_overdue")
        ]
        assert len(stamps) > 1
        return (stamps[-1] - stamps[0]).total_seconds()

    async def restore(self) -> None:
        await self.daemon.close()
        self.node.resume()
        self.redis.resume()
        for server in (self.node, self.redis):
            if not server.running:
                await server.start()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[tuple[RabbitMQ, RedisServer]]:
    async with RabbitMQ() as node, RedisServer() as redis:
        yield node, redis


@pytest_asyncio.fixture(loop_scope="module")
async def scene(servers: tuple[RabbitMQ, RedisServer], namespace: str) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        made = Scene(stack, *servers, namespace)
        yield made
        await made.restore()


async def serving(scene: Scene) -> None:
    await scene.daemon.start()


async def store_silent_at_the_start(scene: Scene) -> None:
    scene.redis.pause()
    await scene.begin()


async def broker_silent_at_the_start(scene: Scene) -> None:
    scene.node.pause()
    await scene.begin()


async def broker_refuses(scene: Scene) -> None:
    scene.config["broker"]["url"] = "amqp://guest:guest@127.0.0.1:1/"
    await scene.begin()
    await scene.logged("broker.lost")


async def topology_lock_held_by_another(scene: Scene) -> None:
    connection = await scene.stack.enter_async_context(await aio_pika.connect(scene.node.url))
    channel = await connection.channel()
    await channel.declare_queue(f"{scene.namespace}.layout", exclusive=True)
    await scene.begin()
    await asyncio.sleep(0.5)  # nothing shows that it waits for the lock


async def store_away(scene: Scene) -> None:
    await scene.daemon.start()
    await scene.redis.stop()
    await scene.logged("store.unavailable")
    await scene.ask()


async def store_hanging_with_a_batch(scene: Scene) -> None:
    await scene.daemon.start()
    scene.redis.pause()
    await scene.ask()


async def store_hanging_on_patrol(scene: Scene) -> None:
    await scene.daemon.start()
    scene.redis.pause()
    await asyncio.sleep(1.5)  # there is one every second


async def store_that_is_deaf(scene: Scene) -> None:
    scene.daemon.config["lock_store"] = {"type": "tests.support.stuck_store.DeafStore"}
    await scene.daemon.start()
    await scene.ask()


async def store_that_blocks_all(scene: Scene) -> None:
    scene.daemon.config["lock_store"] = {"type": "tests.support.stuck_store.BlockingStore"}
    await scene.daemon.start()
    await scene.ask()


async def broker_away(scene: Scene) -> None:
    await scene.daemon.start()
    await scene.node.kill()
    await scene.logged("broker.lost")


async def broker_hanging(scene: Scene) -> None:
    await scene.daemon.start()
    scene.node.pause()


async def broker_blocked_with_a_batch(scene: Scene) -> None:
    """What it announces then is never confirmed."""
    await scene.daemon.start()
    scene.redis.pause()
    await scene.ask()
    await scene.node.ctl("set_vm_memory_high_watermark", "0.00001")
    scene.stack.push_async_callback(scene.node.ctl, "set_vm_memory_high_watermark", "0.6")
    scene.redis.resume()


async def after_a_failed_task(scene: Scene) -> None:
    await scene.daemon.start()
    async with await aio_pika.connect(scene.node.url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(f"{scene.namespace}.requests.0")
    await scene.logged("broker.lost")


async def reloading(scene: Scene) -> None:
    await scene.daemon.start()
    os.kill(scene.daemon.pid, signal.SIGHUP)


async def reloading_while_the_broker_hangs(scene: Scene) -> None:
    await scene.daemon.start()
    scene.node.pause()
    os.kill(scene.daemon.pid, signal.SIGHUP)
    await scene.logged("daemon.reloading")


async def http_clients_that_dribble(scene: Scene) -> None:
    await scene.daemon.start()
    place = urlsplit(scene.daemon.http_url)
    for sent in (b"", b"G", b"GET /readyz HTTP/1.1\r\n", b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n"):
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        scene.stack.callback(writer.close)
        writer.write(sent)
        with suppress(ConnectionError):
            await writer.drain()


State = Callable[[Scene], Awaitable[None]]
ENDS_WELL: list[State] = [
    serving,
    broker_refuses,
    topology_lock_held_by_another,
    broker_away,
    http_clients_that_dribble,
]
STATES: dict[State, set[int]] = {state: {OK} for state in ENDS_WELL} | {
    state: {OK, OVERDUE}
    for state in (
        store_silent_at_the_start,
        broker_silent_at_the_start,
        store_away,
        store_hanging_with_a_batch,
        store_hanging_on_patrol,
        broker_hanging,
        broker_blocked_with_a_batch,
        after_a_failed_task,
        reloading,
        reloading_while_the_broker_hangs,
    )
}
STATES |= {store_that_is_deaf: {OVERDUE}, store_that_blocks_all: {OVERDUE}}


@pytest.mark.parametrize(("state", "codes"), STATES.items(), ids=[state.__name__ for state in STATES])
async def test_sigterm_ends_the_daemon_in_time(state: State, codes: set[int], scene: Scene) -> None:
    await state(scene)
    os.kill(scene.daemon.pid, signal.SIGTERM)
    os.kill(scene.daemon.pid, signal.SIGTERM)  # a second one changes nothing
    code = await scene.daemon.process.wait(PATIENCE_S)
    overdue = scene.daemon.events("daemon.stop_overdue")
    print(f"{state.__name__}: exit {code} after {scene.seconds():.2f} s")
    assert code == (OVERDUE if overdue else OK)
    assert code in codes
    assert scene.seconds() <= STOP_S + BEYOND_S
    assert "Traceback" not in scene.daemon.log.read_text()
