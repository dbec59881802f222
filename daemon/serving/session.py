"""A session: everything that depends on one connection to the broker, from its first channel to its end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec

import structlog
from aiormq.channel import Channel
from pamqp.commands import Basic

from daemon.broker.connection import (
    CONNECTION_ERRORS,
    FilteredConnection,
    frames_of,
    is_blocked,
    open_channel,
    or_lost,
    raise_when_closed,
    raise_when_one_closes,
    reader_failure,
    say_what_ended,
    underlying_channel,
)
from daemon.cluster.broker_state import BrokerState, observe_broker_state, read_queues
from daemon.cluster.heartbeat import Heartbeat, HeartbeatChannel
from daemon.config.settings import Settings
from daemon.serving.announcer import Announcer
from daemon.serving.deadlines import Withdrawals
from daemon.serving.dispatcher import Dispatcher
from daemon.serving.first_contacts import FirstContacts
from daemon.serving.partition_worker import PartitionWorker
from daemon.serving.rebalancer import Rebalancer
from daemon.serving.runtime import Runtime
from daemon.serving.sweeper import Sweeper
from lockstore.amqp.publisher import Outgoing, Publisher
from lockstore.util.cancellation import try_within
from lockstore.util.task_group import TaskGroup

__all__ = ["Session", "count_channels"]

_GOODBYE_S = 0.5  # for the last heartbeat
_LEAST_S = 0.1  # for unfinished work, even if the time for everything is shorter
_STEP_BACK_S = 0.3  # for closing the channels, which the end of the connection does as well
_BLOCKED_LOOK_S = 0.5
_OPEN_S = 5.0
_PROBE = Outgoing(b"", Basic.Properties(), "")  # no queue has this name: RabbitMQ drops and confirms it
_TRANSIENT_CHANNELS = 5
"""The topology watch, its lock and its declaring channel; reading the state of the broker; checking reply queues."""

P = ParamSpec("P")

_log = structlog.get_logger()


def count_channels(settings: Settings) -> int:
    """Return how many channels one session opens at most; keep it in step with `Session.open`."""
    announcer = 2 if settings.daemon.events else 1  # one for replies, one for public events
    partition = 1 + announcer  # one to consume
    sweeper, heartbeat, first_contacts = announcer, 1, 1
    return settings.broker.partitions * partition + sweeper + heartbeat + first_contacts + _TRANSIENT_CHANNELS


class Session:
    """The workers, the sweeper and the rebalancer of one connection."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._workers: list[PartitionWorker] = []
        self._channels: list[Channel] = []  # except those that the workers consume from

    async def open(self, connection: FilteredConnection, partitions: Iterable[int]) -> None:
        """Start consuming the queues of these partitions, which must exist. Raises one of `connection.CONNECTION_ERRORS`."""
        runtime = self._runtime
        runtime.freeze_detector.begin()
        self._connection = connection
        transport = connection.transport
        assert transport is not None  # noqa: S101 - it is connected
        self._below = transport.connection
        contacts = FirstContacts(Publisher(await self._publishing()), self._answering_publisher)
        self._dispatcher = Dispatcher(
            runtime.outstanding,
            runtime.settings.broker.confirm_timeout,
            runtime.settings.daemon.outbox_events,
            contacts,
        )
        self._withdrawals = Withdrawals(runtime.deadlines.wakeup)
        self._sweeper = Sweeper(runtime, self._dispatcher, self._withdrawals)
        self._sweeping = await self._announcer()
        for number in partitions:
            worker = PartitionWorker(number, runtime, connection, await self._announcer(), self._withdrawals)
            self._workers.append(worker)
            await worker.open()
            runtime.freeze_detector.check()
        self._balancer = Rebalancer(runtime, self._workers)
        channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
        self._channels.append(channel)
        self._presence = HeartbeatChannel(channel, runtime.settings.broker.names, self._hear)
        await self._presence.open()

    async def serve(self, ending: asyncio.Event) -> None:
        """Serve until the connection is lost, or until `ending` is set and unfinished work is completed."""
        self._runtime.stall_detector.watch([self._sweeper.progress, *(worker.progress for worker in self._workers)])
        async with TaskGroup() as tasks:
            beside = [
                tasks.create_task(self._or_frozen(raise_when_closed, self._connection)),
                tasks.create_task(self._or_frozen(raise_when_one_closes, self._channels)),
                tasks.create_task(or_lost(self._runtime.freeze_detector.run)),
                tasks.create_task(self._or_frozen(self._dispatcher.run)),
                tasks.create_task(self._or_frozen(self._sweeper.run, self._sweeping)),
                tasks.create_task(self._or_frozen(self._watch_blocking)),
                tasks.create_task(self._or_frozen(self._balancer.run, self._presence)),
            ]
            serving = [tasks.create_task(self._or_frozen(worker.run)) for worker in self._workers]
            await ending.wait()
            await self._drain(serving)
            for task in beside:
                task.cancel()

    async def _or_frozen(self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Await what works on the connection. If that ends because this process was frozen, say so: it is noticed in any order."""
        try:
            await or_lost(work, *args, **kwargs)
        except CONNECTION_ERRORS:
            self._runtime.freeze_detector.check()
            raise

    @property
    def active(self) -> list[int]:
        """The partitions that have delivered something: RabbitMQ has chosen this daemon for them."""
        return [worker.number for worker in self._workers if worker.activity.is_active]

    @property
    def waiting(self) -> int:
        """The number of unfinished messages."""
        return sum(worker.progress.waiting() for worker in self._workers)

    async def broker_state(self) -> BrokerState:
        """Read what exists on the broker. Raises one of `connection.CONNECTION_ERRORS`."""
        daemons = self._runtime.peers.speaking(time.monotonic())
        return await observe_broker_state(self._connection, self._runtime.settings.broker, daemons)

    async def read_queues(self, queues: Iterable[str]) -> dict[str, bool]:
        """Return which queues exist, checking on one channel. Raises one of `connection.CONNECTION_ERRORS`."""
        return await read_queues(self._connection, queues, at_once=1)

    @property
    def delivered(self) -> int:
        """The number of messages delivered, including redelivered ones."""
        return sum(worker.delivered for worker in self._workers)

    def reader_failure(self) -> BaseException | None:
        """Return what the reader of the connection, or of a partition's channel, raised for a frame, or None."""
        if not self._workers:
            return None
        return reader_failure(self._below) or next((item.failure for item in self._workers if item.failure), None)

    def isolate(self) -> list[int]:
        """Isolate the partition whose frame made a reader fail, or all if it is unknown which. Return their numbers."""
        channels = {worker.number: worker.channel for worker in self._workers if worker.channel is not None}
        failed = {worker.number for worker in self._workers if worker.failure is not None}
        if not failed:
            last = {number for number, channel in channels.items() if channel.number == frames_of(channel).last_channel}
            failed = last or {worker.number for worker in self._workers}
        for number in failed:
            channel = channels.get(number)
            header = b"" if channel is None else frames_of(channel).last_header(channel.number)
            self._runtime.isolation.ended(number, self._runtime.settings.broker.prefetch, header)
        return sorted(failed)

    def _hear(self, word: Heartbeat) -> None:
        self._balancer.hear(word)
        self._runtime.peers.receive(word, time.monotonic())

    async def _drain(self, serving: list[asyncio.Task[None]]) -> None:
        """Finish unfinished work; the rest returns to the queues, in order."""
        ends_at = time.monotonic() + self._runtime.settings.daemon.stop_timeout
        # A broker that accepts nothing must not prevent the stop.
        await try_within(_GOODBYE_S, self._balancer.leave(self._presence))
        for worker in self._workers:
            worker.leave()
        _, unfinished = await asyncio.wait(serving, timeout=max(_LEAST_S, ends_at - time.monotonic()))
        for task in unfinished:
            task.cancel()
        if unfinished:
            _log.warning("daemon.unfinished", partitions=len(unfinished))
        await try_within(_STEP_BACK_S, self._close_workers())

    async def _close_workers(self) -> None:
        for worker in self._workers:
            await worker.close()

    async def _watch_blocking(self) -> None:
        """Record whether RabbitMQ blocks this connection; even heartbeats do not show it."""
        health = self._runtime.health
        while True:
            if await is_blocked(self._connection):
                health.set("broker_blocked", "RabbitMQ takes no messages: it is short of memory or disk")
            else:
                health.clear("broker_blocked")
            await asyncio.sleep(_BLOCKED_LOOK_S)

    async def _announcer(self) -> Announcer:
        settings = self._runtime.settings
        replies = await self._publishing()
        public = await self._publishing() if settings.daemon.events else None
        return Announcer(replies, public, settings.broker.names, self._dispatcher, self._withdrawals.add)

    async def _answering_publisher(self, spare: Publisher | None) -> Publisher | None:
        """Return the spare publisher once RabbitMQ answers on it, or a new one; None if RabbitMQ does not answer or allows no more."""
        try:
            async with asyncio.timeout(_OPEN_S):
                if spare is None:
                    return Publisher(await self._publishing())
                await spare.publish([_PROBE])
                return spare
        except (*CONNECTION_ERRORS, TimeoutError) as error:
            _log.warning("channel.unopened", error=say_what_ended(error))
            return None

    async def _publishing(self) -> Channel:
        channel = await underlying_channel(
            await open_channel(self._connection, publisher_confirms=True, on_return_raises=True)
        )
        channel.closing.add_done_callback(self._runtime.outstanding.note_closed)
        self._channels.append(channel)
        return channel
