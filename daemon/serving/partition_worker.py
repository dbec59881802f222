"""A partition worker: consumes one partition, from the first delivery until it yields, and then queues up for it again.

Who is active on a partition is RabbitMQ's choice: of the consumers of its queue, the one that has waited longest. Stepping
back is stopping to take, finishing and acknowledging what is under way, and closing the channel, which requeues the rest
in order for the next one.
"""

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from aio_pika.abc import AbstractConnection

from daemon.broker.connection import frames_of, on_delivery_failure, open_channel, underlying_channel
from daemon.cluster.load import PartitionLoad
from daemon.monitoring.stalls import ProgressCounter
from daemon.serving.announcer import Announcer
from daemon.serving.consumer import QueueConsumer
from daemon.serving.deadlines import Withdrawals
from daemon.serving.decoder import Decoder
from daemon.serving.pipeline import Pipeline
from daemon.serving.runtime import Runtime

if TYPE_CHECKING:
    from aiormq.channel import Channel

__all__ = ["PartitionWorker"]

_OPEN_S = 20.0  # for standing in line again; a queue without a leader does not answer
_QUIET_S = 1.0  # after which nothing of what was on the way is left in the queue of a partition that is isolated

_log = structlog.get_logger()


class PartitionWorker:
    """One partition of one connection."""

    def __init__(
        self,
        number: int,
        runtime: Runtime,
        connection: AbstractConnection,
        announcer: Announcer,
        withdrawals: Withdrawals,
    ) -> None:
        self.number = number
        self._delivered_before = 0  # on the channels that are closed
        self._runtime = runtime
        self._connection = connection
        self._announcer = announcer
        self._withdrawals = withdrawals
        self._broker = runtime.settings.broker
        self._reader = Decoder(runtime.settings.daemon.bounds, number, self._broker.partitions)
        self._partition: QueueConsumer | None = None
        self._leaving = False
        self.channel: Channel | None = None  # the one that it consumes on
        self._isolation = runtime.isolation
        self._is_alone = False  # whether messages are taken one by one
        self._quiet_since: float | None = None
        self._has_refused = False
        self._refusing: set[asyncio.Task[None]] = set()
        self.activity = PartitionLoad(time.monotonic())
        self.progress = ProgressCounter(f"partition {number}", lambda: self._taken().waiting)

    async def open(self) -> None:
        """Stand in line for the partition. Raises one of `link.LOST`."""
        channel = await underlying_channel(await open_channel(self._connection, publisher_confirms=False))
        queue = self._broker.names.request_queue(self.number)
        partition = QueueConsumer(self.number, queue, channel, self._runtime.freeze_detector.check)
        self.activity = PartitionLoad(time.monotonic())
        self._partition = partition
        self.channel = channel
        on_delivery_failure(channel, partition.fail)
        self._is_alone, self._quiet_since = self._isolation.is_isolated(self.number), None
        self._has_refused = False
        if self._is_alone:
            frames_of(channel).screen(channel.number, self._is_unwanted, self._refuse)
        await partition.open(1 if self._is_alone else self._broker.prefetch)

    async def run(self) -> None:
        """Serve, and come back after each stepping back, until told to leave. Raises BrokerLostError."""
        while True:
            partition = self._taken()
            if self._leaving:
                partition.stop()
            pipeline = Pipeline(
                self._runtime, partition, self._reader, self._announcer, self._withdrawals, self.progress
            )
            await pipeline.run(self._broker.batch_most)
            await partition.close()
            if self._leaving:
                return
            self._delivered_before += partition.delivered
            async with asyncio.timeout(_OPEN_S):
                await self.open()

    @property
    def failure(self) -> Exception | None:
        """What aiormq raised over a delivery, if that ended the channel."""
        return None if self._partition is None else self._partition.failure

    @property
    def delivered(self) -> int:
        """How many messages have come."""
        return self._delivered_before + self._taken().delivered

    def look(self, now: float) -> PartitionLoad:
        """Measure what has come, and give what is known of it."""
        self.activity.look(self._taken().delivered, now)
        if self._is_alone:
            self._look_alone(now)
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

    def _look_alone(self, now: float) -> None:
        """Take messages together again where none is left of those that were on the way when the connection ended."""
        partition = self._taken()
        if partition.waiting or not (partition.delivered or self._has_refused):
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= _QUIET_S:
            self._isolation.end(self.number)
        if not self._isolation.is_isolated(self.number) and not partition.is_stopping:
            _log.info("partition.together", partition=self.number)
            if not self._isolation.partitions:
                self._runtime.health.forget("partition_isolated")
            partition.stop()  # a channel of its own has the usual prefetch

    def _is_unwanted(self, header: bytes) -> bool:
        return self._isolation.is_unwanted(self.number, header)

    def _refuse(self, delivery_tag: int) -> None:
        """Have RabbitMQ park the message that ended the connection; it was not decoded."""
        task = asyncio.create_task(self._taken().refuse(delivery_tag))
        self._refusing.add(task)
        self._has_refused = True
        task.add_done_callback(self._refused)
        self._isolation.passed(self.number)
        self._runtime.counters.dead_letters["unreadable"] += 1
        _log.error("message.refused_unread", partition=self.number)

    def _refused(self, task: asyncio.Task[None]) -> None:
        self._refusing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("message.not_refused", partition=self.number, error=str(error))  # it comes again

    def _taken(self) -> QueueConsumer:
        assert self._partition is not None  # noqa: S101 - a session opens its seats before all else
        return self._partition
