"""The service: composition and lifecycle. Nothing here knows what a ticket is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext, SSLError, create_default_context

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError
from aiormq.channel import Channel

from daemon import topology
from daemon.announcer import Announcer
from daemon.keeper import Keeper
from daemon.letters import Reader
from daemon.partition import Partition
from daemon.pipeline import Pipeline
from daemon.settings import BrokerSettings, Settings
from daemon.sweeper import Sweeper
from lockstore.backoff import Backoff
from lockstore.errors import BrokerLostError, ConfigError
from lockstore.store import LockStore

__all__ = ["Service"]

_FIRST_S, _MOST_S = 0.1, 5.0  # pauses between tries while the broker is away
_BATCH_SHARE = (
    5  # of the prefetch: several batches are under way at once, one in the store and the others at the broker
)

_log = structlog.get_logger()


def _nothing(_: str) -> None:
    """Pass by: nothing is armed at this checkpoint."""


class Service:
    """One daemon: a lock store, a broker, and a pipeline for each partition."""

    def __init__(self, settings: Settings, store: LockStore, checkpoint: Callable[[str], None] = _nothing) -> None:
        """`checkpoint` is called at the points between the steps, by name; tests stop the process there."""
        self._settings = settings
        self._keeper = Keeper(store)
        self._checkpoint = checkpoint

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises ConfigError where trying again would not help."""
        opening = asyncio.create_task(self._keeper.open())
        if not await _unless(stop, opening):
            return
        try:
            await self._serve_until(stop)
        finally:
            await self._keeper.store.close()
            _log.info("daemon.stopped")

    async def _serve_until(self, stop: asyncio.Event) -> None:
        backoff = Backoff(_FIRST_S, _MOST_S)
        while not stop.is_set():
            try:
                async with self._connected() as connection:
                    await self._serve(connection, stop, backoff)
            except* (BrokerLostError, AMQPError, ConnectionError, OSError, TimeoutError) as group:
                _raise_certificate_fault(group)
                pause_s = backoff.next_s()
                _log.warning("broker.lost", error=_first(group), again_in_s=round(pause_s, 1))
                await _unless(stop, asyncio.create_task(asyncio.sleep(pause_s)))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AbstractConnection]:
        broker = self._settings.broker
        connection = await aio_pika.connect(
            broker.url.get_secret_value(),
            ssl_context=_ssl_context(broker),
            heartbeat=broker.heartbeat,
            client_properties={"connection_name": "lockstore"},
        )
        try:
            yield connection
        finally:
            try:
                async with asyncio.timeout(_MOST_S):
                    await connection.close()
            except (AMQPError, OSError, TimeoutError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) and task.cancelling():
                    raise

    async def _serve(self, connection: AbstractConnection, stop: asyncio.Event, backoff: Backoff) -> None:
        """Serve on one connection until it is lost, or until `stop` is set and what was under way is finished."""
        broker = self._settings.broker
        channel = await connection.channel()
        await topology.declare(channel, broker)
        sweeper = Sweeper(self._keeper, await self._announcer(connection), self._checkpoint)
        partitions: list[Partition] = []
        pipelines: list[Pipeline] = []
        for number in range(broker.partitions):
            consuming = await _raw(await connection.channel(publisher_confirms=False))
            partition = Partition(number, broker.names.request_queue(number), consuming)
            reader = Reader(self._settings.daemon.bounds, number, broker.partitions)
            announcer = await self._announcer(connection)
            partitions.append(partition)
            pipelines.append(Pipeline(partition, reader, self._keeper, announcer, sweeper, self._checkpoint))
        batch_most = max(1, broker.prefetch // _BATCH_SHARE)
        async with asyncio.TaskGroup() as tasks:
            lost = tasks.create_task(_raise_when_closed(connection))
            sweeping = tasks.create_task(sweeper.run())
            for partition in partitions:
                await partition.open(broker.prefetch)
            serving = [tasks.create_task(pipeline.run(batch_most)) for pipeline in pipelines]
            _log.info("daemon.ready", partitions=broker.partitions, namespace=broker.namespace)
            backoff.reset()
            await stop.wait()
            await self._drain(partitions, serving)
            sweeping.cancel()
            lost.cancel()

    async def _drain(self, partitions: list[Partition], serving: list[asyncio.Task[None]]) -> None:
        """Finish what is under way; the rest goes back to the queues, in order."""
        for partition in partitions:
            partition.stop()
        _, unfinished = await asyncio.wait(serving, timeout=self._settings.daemon.stop_timeout)
        for task in unfinished:
            task.cancel()
        if unfinished:
            _log.warning("daemon.unfinished", partitions=len(unfinished))
        for partition in partitions:
            await partition.close()

    async def _announcer(self, connection: AbstractConnection) -> Announcer:
        channel = await _raw(await connection.channel(publisher_confirms=True, on_return_raises=True))
        return Announcer(channel, self._settings.broker.names, public=self._settings.daemon.events)


async def _unless(stop: asyncio.Event, task: asyncio.Task[None]) -> bool:
    """Wait for a task, unless the stop comes first; tell whether it was done."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        for item in (stopping, task):
            item.cancel()


async def _raw(channel: AbstractChannel) -> Channel:
    """Give the channel below aio-pika's, which publishes without waiting for the socket each time."""
    raw = await channel.get_underlay_channel()
    assert isinstance(raw, Channel)  # noqa: S101 - aio-pika opens no other kind
    return raw


async def _raise_when_closed(connection: AbstractConnection) -> None:
    await connection.closed()
    message = "the connection was closed"
    raise BrokerLostError(message)


def _ssl_context(broker: BrokerSettings) -> SSLContext | None:
    if not broker.url.get_secret_value().startswith("amqps://"):
        return None
    context = create_default_context(cafile=broker.ssl_ca_certs)
    if broker.ssl_certfile is not None:
        context.load_cert_chain(broker.ssl_certfile, broker.ssl_keyfile)
    return context


def _first(group: BaseExceptionGroup) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _raise_certificate_fault(group: BaseExceptionGroup) -> None:
    if group.subgroup(SSLError) is not None:
        message = f"broker.url: TLS failed: {_first(group)}"
        raise ConfigError(message) from None
