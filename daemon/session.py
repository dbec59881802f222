"""A session: everything that lives on one connection to the broker, from declaring to stepping back."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel

from daemon import topology
from daemon.announcer import Announcer
from daemon.keeper import Keeper
from daemon.letters import Reader
from daemon.link import raise_when_closed, raw
from daemon.partition import Partition
from daemon.pipeline import Pipeline
from daemon.settings import Settings
from daemon.sweeper import Sweeper, Timers

__all__ = ["Parts", "Session"]

_BATCH_SHARE = 5  # of the prefetch: several batches are under way at once, in the store and at the broker

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What outlives a connection: the settings, the store, the deadlines, and the tests' way to stop between steps."""

    settings: Settings
    keeper: Keeper
    timers: Timers
    checkpoint: Callable[[str], None]


class Session:
    """The partitions of one connection, their pipelines, and the sweeper."""

    def __init__(self, parts: Parts) -> None:
        self.others = 0  # daemons that consumed already when this one came
        self._parts = parts
        self._partitions: list[Partition] = []
        self._pipelines: list[Pipeline] = []

    async def open(self, connection: AbstractConnection) -> None:
        """Declare what is needed and begin to consume. Raises ConfigError, or one of `link.LOST`."""
        parts, broker = self._parts, self._parts.settings.broker
        self._connection = connection
        self.others = await topology.declare(await connection.channel(), broker)
        self._sweeper = Sweeper(parts.keeper, await self._announcer(), parts.timers, parts.checkpoint)
        for number in range(broker.partitions):
            consuming = await raw(await connection.channel(publisher_confirms=False))
            partition = Partition(number, broker.names.request_queue(number), consuming)
            reader = Reader(parts.settings.daemon.bounds, number, broker.partitions)
            announcer = await self._announcer()
            pipeline = Pipeline(partition, reader, parts.keeper, announcer, self._sweeper, parts.checkpoint)
            await partition.open(broker.prefetch)
            self._partitions.append(partition)
            self._pipelines.append(pipeline)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until the connection is lost, or until `stop` is set and what was under way is finished."""
        batch_most = max(1, self._parts.settings.broker.prefetch // _BATCH_SHARE)
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(raise_when_closed(self._connection)),
                tasks.create_task(self._sweeper.run()),
            ]
            serving = [tasks.create_task(pipeline.run(batch_most)) for pipeline in self._pipelines]
            await stop.wait()
            await self._drain(serving)
            for task in beside:
                task.cancel()

    async def _drain(self, serving: list[asyncio.Task[None]]) -> None:
        """Finish what is under way; the rest goes back to the queues, in order."""
        for partition in self._partitions:
            partition.stop()
        _, unfinished = await asyncio.wait(serving, timeout=self._parts.settings.daemon.stop_timeout)
        for task in unfinished:
            task.cancel()
        if unfinished:
            _log.warning("daemon.unfinished", partitions=len(unfinished))
        for partition in self._partitions:
            await partition.close()

    async def _announcer(self) -> Announcer:
        settings = self._parts.settings
        replies = await self._publishing()
        public = await self._publishing() if settings.daemon.events else None
        return Announcer(replies, public, settings.broker.names)

    async def _publishing(self) -> Channel:
        return await raw(await self._connection.channel(publisher_confirms=True, on_return_raises=True))
