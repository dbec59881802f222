"""A place to work in: a temporary folder and servers that start when first asked for and surely end."""

import asyncio
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from harness.daemon_process import DaemonProcess
from harness.rabbitmq import RabbitMQ
from harness.redis_cluster import RedisCluster
from harness.redis_group import RedisGroup
from harness.redis_sentinels import RedisSentinels
from harness.redis_server import RedisServer
from harness.server import Server

_ENDING = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed

AnyServer = TypeVar("AnyServer", bound=Server | RedisGroup)


class Workplace:
    """Servers for one demonstration, benchmark or test session. Get it from `workplace()`."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self._stack = stack
        # Each starts once, different ones at one time.
        self._rabbitmq_lock, self._redis_lock = asyncio.Lock(), asyncio.Lock()
        self._cluster_lock, self._sentinels_lock = asyncio.Lock(), asyncio.Lock()
        self._rabbitmq: RabbitMQ | None = None
        self._redis: RedisServer | None = None
        self._cluster: RedisCluster | None = None
        self._sentinels: RedisSentinels | None = None
        self._daemons = 0

    async def add(self, server: AnyServer) -> AnyServer:
        """Start a server, or a group of them, and give it; it ends with this place, the last one started first."""
        self._stack.push_async_callback(server.close)  # first, so that it ends also if its start is broken off
        await server.start()
        return server

    async def rabbitmq(self) -> RabbitMQ:
        """Give the RabbitMQ of this place, started at the first call."""
        async with self._rabbitmq_lock:
            if self._rabbitmq is None:
                self._rabbitmq = await self.add(RabbitMQ(folder=self.folder / "rabbitmq"))
            return self._rabbitmq

    async def redis(self) -> RedisServer:
        """Give the Redis of this place, started at the first call."""
        async with self._redis_lock:
            if self._redis is None:
                self._redis = await self.add(RedisServer(folder=self.folder / "redis"))
            return self._redis

    async def redis_cluster(self) -> RedisCluster:
        """Give the Redis Cluster of this place, three primaries without replicas, started at the first call."""
        async with self._cluster_lock:
            if self._cluster is None:
                self._cluster = await self.add(RedisCluster(folder=self.folder / "cluster"))
            return self._cluster

    async def redis_sentinels(self) -> RedisSentinels:
        """Give the Redis with Sentinels of this place, a primary, a replica, three Sentinels, started at the first call."""
        async with self._sentinels_lock:
            if self._sentinels is None:
                self._sentinels = await self.add(RedisSentinels(folder=self.folder / "sentinels"))
            return self._sentinels

    async def daemon(self, config: Mapping[str, Any], *, module: str = "daemon") -> DaemonProcess:
        """Start one more daemon with a configuration."""
        self._daemons += 1
        name = f"daemon-{self._daemons}"
        return await self.add(DaemonProcess(config, module=module, folder=self.folder / name, name=name))


@asynccontextmanager
async def workplace() -> AsyncIterator[Workplace]:
    """Give a temporary folder and its servers; all end and the folder goes, also on an error, Ctrl-C, SIGTERM or SIGHUP."""
    with tempfile.TemporaryDirectory(prefix="lockstore-", ignore_cleanup_errors=True) as folder, _ended_by_signals():
        async with AsyncExitStack() as stack:
            yield Workplace(Path(folder), stack)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into a cancellation, as asyncio.run does Ctrl-C; leave with the exit code that says so."""
    task = asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        task.cancel()

    ending = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    for number in ending:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    except asyncio.CancelledError:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        for number in ending:
            loop.remove_signal_handler(number)
