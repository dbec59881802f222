"""The service: one daemon from its start to its stop. It knows nothing about tickets."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import structlog

from daemon.broker import request_queues as layout
from daemon.broker import topology
from daemon.broker.connection import (
    CONNECTION_ERRORS,
    FilteredConnection,
    as_config_error,
    is_end,
    open_channel,
    or_lost,
    say_what_ended,
)
from daemon.broker.nodes import BrokerNodes
from daemon.config.reload import Reread, merge_reloadable
from daemon.config.settings import Settings
from daemon.monitoring.batch_report import BatchReport
from daemon.serving.runtime import create_runtime, no_failpoint
from daemon.serving.session import Session
from daemon.serving.topology_watch import TopologyWatch
from daemon.systemd.notify import Notifier
from daemon.systemd.watchdog import Watchdog
from lockstore.errors import BrokerLostError, ConfigError
from lockstore.stores.base import LockStore
from lockstore.stores.memory import InMemoryLockStore
from lockstore.util.backoff import Backoff
from lockstore.util.cancellation import CancelRequest, try_within
from lockstore.util.task_group import TaskGroup

__all__ = ["Service"]

_FIRST_S, _MOST_S = 0.1, 5.0  # retry delays while the broker is unreachable
_OPEN_S = 20.0  # for connecting, declaring and consuming; a queue without a leader answers neither of the latter

_CLOSE_STORE_S = 0.3  # for closing the store

_log = structlog.get_logger()


class Service:
    """A lock store and a broker connection, for the lifetime of the process."""

    def __init__(
        self,
        settings: Settings,
        store: LockStore,
        checkpoint: Callable[[str], None] = no_failpoint,
        reread: Reread | None = None,
    ) -> None:
        """`checkpoint` is called with a name between the steps; tests stop the process there.

        `reread` reads the configuration again at a `reload`; without it, that only begins a new session.
        """
        self._runtime = create_runtime(settings, store, checkpoint)
        self._backoff = Backoff(_FIRST_S, _MOST_S)
        self._nodes = BrokerNodes(settings.broker)
        self._is_first = True
        self._opening = ""  # what a starting session is waiting for
        self._notifier = Notifier.of(os.environ)
        self._watchdog = Watchdog(self._runtime, self._notifier)
        self._reread = reread or (lambda: settings)
        self._ending = asyncio.Event()  # of the current session

    @property
    def stop_timeout_s(self) -> float:
        """How long unfinished work may take when the daemon stops."""
        return self._runtime.settings.daemon.stop_timeout

    def describe_left(self) -> str:
        """Describe the unfinished work, and what blocks it."""
        reasons = [f"{reason.name}: {reason.detail}" for reason in self._runtime.health.reasons()]
        return "; ".join([f"messages in hand: {self._runtime.active_session.waiting}", *reasons])

    def reload(self) -> None:
        """Reload the configuration, and start a new session with it. An invalid one is logged, and changes nothing."""
        self._watchdog.reloading()
        try:
            self._runtime.settings = merge_reloadable(self._runtime.settings, self._reread())
        except ConfigError as error:
            _log.error("daemon.reload_refused", error=str(error))
            self._watchdog.look(time.monotonic())
        else:
            _log.info("daemon.reloading")
            self._runtime.store.store.limits = self._runtime.settings.daemon.limits
            self._ending.set()

    def observe(self, observer: Callable[[BatchReport], None]) -> None:
        """Register an observer of finished batches. It must not raise, and must be fast."""
        self._runtime.observers.add(observer)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises ConfigError, alone or in a group, if a retry would not help."""
        async with AsyncExitStack() as stack:
            stack.callback(self._notifier.close)
            # First of all, so that a daemon that waits for the store or the broker can be asked why.
            site = await self._listen(stack)
            async with TaskGroup() as tasks:
                beside = [self._watchdog.run(), self._await_stop(stop), *(run() for run in site)]
                running = [tasks.create_task(part) for part in beside]
                await self._serve(stop)
                for task in running:
                    task.cancel()

    async def _await_stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._watchdog.stopping()
        self._ending.set()

    async def _listen(self, stack: AsyncExitStack) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Listen for HTTP if it is configured, until the stack closes. Returns what has to run meanwhile."""
        place = self._runtime.settings.daemon.http_place
        if place is None:
            return []
        # A sixth of a daemon's start, which one that listens nowhere saves.
        from daemon.http.app import create_app  # noqa: PLC0415 - see above
        from daemon.http.poller import StorePoller  # noqa: PLC0415 - see above
        from daemon.http.server import HttpServer  # noqa: PLC0415 - see above

        poller = StorePoller(self._runtime)
        server = HttpServer(*place, create_app(self._runtime, poller, place[0]))
        self._runtime.http_connections = server.connections
        await stack.enter_async_context(server)
        return [server.run, poller.run]

    async def _serve(self, stop: asyncio.Event) -> None:
        """Open the store, and serve on one connection to the broker after the other."""
        request = CancelRequest()
        try:
            if not await _unless(stop, self._runtime.store.open()):
                return
            while not stop.is_set():
                try:
                    await self._live(stop)
                except* CONNECTION_ERRORS as group:
                    request.check(group)  # an error of the session may have arrived together with the cancellation
                    if (fault := as_config_error(group)) is not None:
                        raise fault from None
                    await self._pause(stop, say_what_ended(group, self._nodes.address))
        finally:
            await try_within(_CLOSE_STORE_S, self._runtime.store.store.close())
            _log.info("daemon.stopped")

    async def _live(self, stop: asyncio.Event) -> None:
        """Connect and serve until the connection is lost, the configuration is reloaded, or the daemon stops."""
        session = Session(self._runtime)
        try:
            await self._connected(stop, session)
        except Exception as error:
            failure = session.reader_failure()
            if failure is None or not is_end(error, failure):
                raise
            _log.error("partition.isolated", partitions=session.isolate(), exc_info=failure)
            self._runtime.health.note(
                "partition_isolated",
                f"a message ended a connection while it was decoded; those of these partitions are taken one by one: "
                f"{', '.join(map(str, self._runtime.isolation.partitions))}",
            )
            message = f"the connection ended while a frame was read: {type(failure).__name__}: {failure}"
            raise BrokerLostError(message) from error

    async def _connected(self, stop: asyncio.Event, session: Session) -> None:
        self._ending = asyncio.Event()
        broker, health = self._runtime.settings.broker, self._runtime.health
        async with AsyncExitStack() as stack:
            found: list[FilteredConnection] = []

            async def begin() -> None:
                connection = await stack.enter_async_context(self._nodes.connect(broker))
                found.append(connection)
                health.clear("broker_away")
                try:
                    async with asyncio.timeout(_OPEN_S):
                        await or_lost(self._open, session, connection)
                except TimeoutError as error:
                    raise BrokerLostError(self._describe_opening(connection)) from error

            if not await _unless(stop, or_lost(begin)):
                return
            _log.info(
                "daemon.ready", partitions=broker.partitions, namespace=broker.namespace, node=self._nodes.address.place
            )
            self._backoff.reset()
            health.clear("not_consuming")
            with self._current(session):
                self._watchdog.look(time.monotonic())  # so that systemd learns at once that it serves
                async with TaskGroup() as tasks:
                    watch = TopologyWatch(self._runtime, found[0])
                    watching = tasks.create_task(or_lost(watch.run, self._ending))
                    await session.serve(self._ending)
                    watching.cancel()
            health.set("not_consuming", "begins anew, with the configuration as it is now")

    @contextmanager
    def _current(self, session: Session) -> Iterator[None]:
        self._runtime.active_session.session = session
        try:
            yield
        finally:
            self._runtime.active_session.session = None
            self._runtime.stall_detector.watch(())

    async def _open(self, session: Session, connection: FilteredConnection) -> None:
        """Declare what is needed and start consuming. Raises ConfigError, or one of `connection.CONNECTION_ERRORS`."""
        broker = self._runtime.settings.broker
        self._opening = "taking the topology lock, which another daemon or `lockstore repartition` may hold"
        async with layout.topology_lock(connection, broker.names):
            self._opening = "reading the request queues"
            layout.check(await layout.declared_queues(connection, broker.names, broker.partitions), broker)
            self._opening = "declaring exchanges and queues"
            channel = await open_channel(connection)
            others = await topology.declare(channel, broker)
            await channel.close()
            self._opening = "registering the consumers"
            await session.open(connection, range(broker.partitions))
        self._warn(others)

    def _describe_opening(self, connection: FilteredConnection) -> str:
        queue = self._runtime.settings.broker.names.request_queue(0)
        return (
            f"{connection.endpoint.address.place} did not answer within {_OPEN_S:g} seconds while {self._opening}; a queue "
            f"without a majority of its nodes does not answer: rabbitmq-queues quorum_status {queue}"
        )

    def _warn(self, others: int) -> None:
        """Warn if several daemons serve but the store is not shared. Only at the first start: later, another consumer may be our own old one."""
        if self._is_first and others and isinstance(self._runtime.store.store, InMemoryLockStore):
            _log.warning(
                "store.warning",
                warning="another daemon serves this namespace, and an in_memory store is shared with nobody: "
                "what one has granted, the other does not know; use a Redis store",
            )
        self._is_first = False

    async def _pause(self, stop: asyncio.Event, error: str) -> None:
        health = self._runtime.health
        health.set("broker_away", error)
        health.set("not_consuming", "the connection to RabbitMQ is lost")
        health.clear("broker_blocked", "topology_missing")  # the next session declares what is missing
        self._runtime.counters.reconnects += 1
        # Try another node at once. If all are known to fail, back off.
        pause_s = 0.0 if self._nodes.has_untried else self._backoff.next_s()
        _log.warning("broker.lost", error=error, node=self._nodes.address.place, again_in_s=round(pause_s, 1))
        await _unless(stop, asyncio.sleep(pause_s))


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run something unless `stop` is set first, and return whether it was completed."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, doing}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
        return doing.done()
    finally:
        for task in (doing, stopping):
            task.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)
