"""A partition worker: consumes one partition, from the first delivery until it yields, and then queues up for it again.

Who is active on a partition is RabbitMQ's choice: of the consumers of its queue, the one that has waited longest. Stepping
back is stopping to take, finishing and acknowledging what is under way, and closing the channel, which requeues the rest
in order for the next one.
"""

import asyncio
import time

from aio_pika.abc import AbstractConnection

from daemon.broker.connection import open_channel, underlying_channel
from daemon.cluster.load import PartitionLoad
from daemon.monitoring.stalls import ProgressCounter
from daemon.serving.announcer import Announcer
from daemon.serving.consumer import QueueConsumer
from daemon.serving.decoder import Decoder
from daemon.serving.pipeline import Pipeline
from daemon.serving.runtime import Runtime
from daemon.serving.sweeper import Sweeper

__all__ = ["PartitionWorker"]

_OPEN_S = 20.0  # for standing in line again; a queue without a leader does not answer


class PartitionWorker:
    """One partition of one connection."""

    def __init__(
        self, number: int, runtime: Runtime, connection: AbstractConnection, announcer: Announcer, sweeper: Sweeper
    ) -> None:
        self.number = number
        self._delivered_before = 0  # on the channels that are closed
        self._runtime = runtime
        self._connection = connection
        self._announcer = announcer
        self._sweeper = sweeper
        self._broker = runtime.settings.broker
        self._reader = Decoder(runtime.settings.daemon.bounds, number, self._broker.partitions)
        self._partition: QueueConsumer | None = None
        self._leaving = False
        self.activity = PartitionLoad(time.monotonic())
        self.progress = ProgressCounter(f"partition {number}", lambda: self._taken().waiting)

    async def open(self) -> None:
        """Stand in line for the partition. Raises one of `link.LOST`."""
        channel = await underlying_channel(await open_channel(self._connection, publisher_confirms=False))
        queue = self._broker.names.request_queue(self.number)
        partition = QueueConsumer(self.number, queue, channel, self._runtime.freeze_detector.check)
        self.activity = PartitionLoad(time.monotonic())
        self._partition = partition
        await partition.open(self._broker.prefetch)

    async def run(self) -> None:
        """Serve, and come back after each stepping back, until told to leave. Raises BrokerLostError."""
        while True:
            partition = self._taken()
            if self._leaving:
                partition.stop()
            pipeline = Pipeline(self._runtime, partition, self._reader, self._announcer, self._sweeper, self.progress)
            await pipeline.run(self._broker.batch_most)
            await partition.close()
            if self._leaving:
                return
            self._delivered_before += partition.delivered
            async with asyncio.timeout(_OPEN_S):
                await self.open()

    @property
    def delivered(self) -> int:
        """How many messages have come."""
        return self._delivered_before + self._taken().delivered

    def look(self, now: float) -> PartitionLoad:
        """Measure what has come, and give what is known of it."""
        self.activity.look(self._taken().delivered, now)
        return self.activity

    @property
    def is_yielding(self) -> bool:
        """Whether nothing more is taken, for now or for good."""
        return self._taken().is_stopping

    def yield_partition(self) -> None:
        """Let another daemon have the partition, if one waits for it; and wait for it again."""
        self._taken().stop()

    def leave(self) -> None:
        """Step back for good."""
        self._leaving = True
        self._taken().stop()

    async def close(self) -> None:
        """Close the channel; what was not acknowledged goes back to the queue, in order."""
        await self._taken().close()

    def _taken(self) -> QueueConsumer:
        assert self._partition is not None  # noqa: S101 - a session opens its seats before all else
        return self._partition
