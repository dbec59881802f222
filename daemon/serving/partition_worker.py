"""A partition worker: consumes one partition, from the first delivery until it yields it, and then goes on standby again.

RabbitMQ chooses the active consumer of a queue: the one that has waited longest. To yield is to take no more messages, to
finish and acknowledge the current ones, and to close the channel, which requeues the rest in order for the next consumer.
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

_OPEN_S = 20.0  # for consuming again; a queue without a leader does not answer
_QUIET_S = 1.0  # after that, none of the messages that were in flight is left in the queue of an isolated partition

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
        self._delivered_before = 0  # on channels that were closed
        self._runtime = runtime
        self._connection = connection
        self._announcer = announcer
        self._withdrawals = withdrawals
        self._broker = runtime.settings.broker
        self._reader = Decoder(runtime.settings.daemon.bounds, number, self._broker.partitions)
        self._partition: QueueConsumer | None = None
        self._leaving = False
        self.channel: Channel | None = None  # the one it consumes from
        self._isolation = runtime.isolation
        self._is_alone = False  # whether messages are taken one at a time
        self._quiet_since: float | None = None
        self._has_refused = False
        self._refusing: set[asyncio.Task[None]] = set()
        self.activity = PartitionLoad(time.monotonic())
        self.progress = ProgressCounter(f"partition {number}", lambda: self._taken().waiting)

    async def open(self) -> None:
        """Start consuming the partition, on standby at first. Raises one of `connection.CONNECTION_ERRORS`."""
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
        """Serve, and consume again after each yield, until `leave`. Raises BrokerLostError."""
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
        """What aiormq raised for a delivery, if that closed the channel."""
        return None if self._partition is None else self._partition.failure

    @property
    def delivered(self) -> int:
        """The number of messages delivered."""
        return self._delivered_before + self._taken().delivered

    def look(self, now: float) -> PartitionLoad:
        """Measure the deliveries, and return the load."""
        self.activity.look(self._taken().delivered, now)
        if self._is_alone:
            self._look_alone(now)
        return self.activity

    @property
    def is_yielding(self) -> bool:
        """Whether no more messages are taken, for now or for good."""
        return self._taken().is_stopping

    def yield_partition(self) -> None:
        """Yield the partition to another daemon, if one is on standby, and go on standby again."""
        self._taken().stop()

    def leave(self) -> None:
        """Yield the partition for good."""
        self._leaving = True
        self._taken().stop()

    async def close(self) -> None:
        """Close the channel; unacknowledged messages return to the queue, in order."""
        await self._taken().close()

    def _look_alone(self, now: float) -> None:
        """End the isolation if none of the messages that were in flight when the connection ended is left."""
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
            partition.stop()  # a new channel has the usual prefetch

    def _is_unwanted(self, header: bytes) -> bool:
        return self._isolation.is_unwanted(self.number, header)

    def _refuse(self, delivery_tag: int) -> None:
        """Have RabbitMQ dead-letter the message that ended the connection; it was not decoded."""
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
            _log.warning("message.not_refused", partition=self.number, error=str(error))  # it is delivered again

    def _taken(self) -> QueueConsumer:
        assert self._partition is not None  # noqa: S101 - a session opens its workers first
        return self._partition
