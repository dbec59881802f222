"""Changes the number of partitions, while all daemons are stopped and publishers continue.

    look ──► unbind ──► drain ──► delete ──► declare

After unbinding, published requests are returned to their publishers, who send them again. The old queues are served under
the old number until they are empty, so their messages keep their order and precede everything that is sent again. Then the
old queues are deleted, the last one first, and the new ones are declared.

Every step is safe to repeat, and the process may be killed between any two. A daemon with the old number that is started
then binds the old queues again if all of them exist; one with another number does not start.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from daemon.broker import request_queues as layout
from daemon.broker import topology
from daemon.broker.connection import connect, open_channel, underlying_channel
from daemon.cluster.heartbeat import Heartbeat
from daemon.cluster.listening import collect_heartbeats
from daemon.config.settings import PARTITIONS_MOST, Settings
from daemon.serving.runtime import Runtime, create_runtime, no_failpoint
from daemon.serving.session import Session
from lockstore.errors import LockstoreError
from lockstore.stores.base import LockStore
from lockstore.util.task_group import TaskGroup

__all__ = ["Repartition", "StillServedError"]

LOCK_S = 10.0  # how long to wait for a daemon that is just starting
QUIET_S = 1.0  # how long the queues must stay empty before messages in flight have surely arrived
LINGER_S = 5.0  # how long RabbitMQ may take to notice that our own consumers are gone
_LOOK_S = 0.1

Tell = Callable[[str, int], None]
"""Called with the current step and its progress."""


class StillServedError(LockstoreError):
    """Stop the daemons first: the request queues have consumers."""


def _silent(_: str, __: int) -> None:
    """Ignore the progress."""


class Repartition:
    """A change of the number of partitions to that in the settings: `async with Repartition(...) as work:`.

    While the context lasts, no daemon of the namespace can start; a daemon started meanwhile waits.
    """

    def __init__(self, settings: Settings, store: LockStore, checkpoint: Callable[[str], None] = no_failpoint) -> None:
        """Use the settings after the change. `checkpoint` is called by name between the steps."""
        self._settings = settings
        self._store = store
        self._checkpoint = checkpoint
        self._stack = AsyncExitStack()
        self.served = 0  # messages served from the old queues

    async def __aenter__(self) -> Self:
        """Connect, and lock the topology. Raises StillServedError, ConfigError, or one of CONNECTION_ERRORS."""
        async with AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(connect(self._settings.broker))
            locked = layout.topology_lock(self._connection, self._settings.broker.names)
            try:
                async with asyncio.timeout(LOCK_S):
                    await stack.enter_async_context(locked)
            except TimeoutError:
                raise StillServedError("another process is currently declaring or changing these queues") from None
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def look(self) -> dict[int, layout.Queue]:
        """Return all request queues of the namespace, whoever declared them."""
        return await layout.declared_queues(self._connection, self._settings.broker.names, PARTITIONS_MOST)

    async def daemons(self) -> list[Heartbeat]:
        """Collect the heartbeats of running daemons."""
        return await collect_heartbeats(self._connection, self._settings.broker.names)

    async def change(self, tell: Tell = _silent) -> None:
        """Change the number. Raises StillServedError, StoreError, or one of CONNECTION_ERRORS; repeat it to continue."""
        broker = self._settings.broker
        queues = await self.look()
        _refuse_if_served(queues)
        if queues.keys() != set(range(broker.partitions)):
            await self._unbind(queues)
            self._checkpoint("unbound")
            await self._drain(queues, tell)
            self._checkpoint("drained")
            await self._delete(queues, tell)
        tell("declaring", 0)
        await topology.declare(await open_channel(self._connection), broker)
        self._checkpoint("declared")

    async def _unbind(self, queues: dict[int, layout.Queue]) -> None:
        names = self._settings.broker.names
        channel = await underlying_channel(await open_channel(self._connection, publisher_confirms=False))
        for number in queues:
            await channel.queue_unbind(names.request_queue(number), names.requests, str(number))
        await channel.close()

    async def _drain(self, queues: dict[int, layout.Queue], tell: Tell) -> None:
        """Serve the queued messages, as a daemon with the old number does, until all are acknowledged."""
        partitions = layout.number_of(queues)
        broker = self._settings.broker.model_copy(update={"partitions": partitions, "balance": False})
        runtime = create_runtime(self._settings.model_copy(update={"broker": broker}), self._store)
        try:
            await runtime.store.open()
            while True:
                await self._serve(runtime, queues, tell)
                left = await self._left_alone(queues)
                if not any(queue.messages for queue in left.values()):
                    return
        finally:
            await self._store.close()

    async def _left_alone(self, queues: dict[int, layout.Queue]) -> dict[int, layout.Queue]:
        """Return the queues once they have no consumers: a queue notices a closed channel with a delay.

        Only then does it count messages that were delivered but not acknowledged.
        """
        until = time.monotonic() + LINGER_S
        while True:
            left = await self._counts(queues)
            if not any(queue.consumers for queue in left.values()):
                return left
            if time.monotonic() > until:
                _refuse_if_served(left)
            await asyncio.sleep(_LOOK_S)

    async def _serve(self, runtime: Runtime, queues: dict[int, layout.Queue], tell: Tell) -> None:
        session = Session(runtime)
        await session.open(self._connection, sorted(queues))
        before, stop = self.served, asyncio.Event()

        async def until_quiet() -> None:
            stirred_at, seen = time.monotonic(), -1
            while time.monotonic() - stirred_at < QUIET_S:
                waiting = sum(queue.messages for queue in (await self._counts(queues)).values())
                if waiting or session.delivered != seen:
                    stirred_at, seen = time.monotonic(), session.delivered
                self.served = before + session.delivered
                tell("draining", self.served)
                await asyncio.sleep(_LOOK_S)
            stop.set()

        async with TaskGroup() as tasks:
            tasks.create_task(until_quiet())
            tasks.create_task(session.serve(stop))

    async def _delete(self, queues: dict[int, layout.Queue], tell: Tell) -> None:
        """Delete empty queues, the last one first, so that the remaining ones always form a valid set."""
        channel = await underlying_channel(await open_channel(self._connection, publisher_confirms=False))
        for done, number in enumerate(sorted(queues, reverse=True)):
            tell("deleting", done)
            # RabbitMQ can only delete quorum queues unconditionally. Nothing is bound to the queue or consumes it, so the
            # check still holds when it is deleted.
            (queue,) = (await self._counts([number])).values()
            _refuse_if_served({number: queue})
            if queue.messages:
                raise StillServedError(f"a message was published directly to the queue of partition {number}")
            await channel.queue_delete(self._settings.broker.names.request_queue(number))
            self._checkpoint("deleted")
        await channel.close()

    async def _counts(self, numbers: Iterable[int]) -> dict[int, layout.Queue]:
        return await layout.queue_depths(self._connection, self._settings.broker.names, numbers)


def _refuse_if_served(queues: dict[int, layout.Queue]) -> None:
    if any(queue.consumers for queue in queues.values()):
        raise StillServedError("this namespace still has running daemons; stop all of them first")
