"""Changing the number of partitions, with all daemons stopped and publishers left running.

    look ──► unbind ──► drain ──► delete ──► declare

From the unbinding on, what is published comes back to its publisher, who sends it again. The old queues are served, under
the old number, until they are empty; so what is in them keeps its order, and comes before all that is sent again. Then
they go, the last one first, and the new ones are declared.

Every step may be done again, and the process may be killed between any two. A daemon with the old number that is started
then binds the old queues again, if all of them stand; one with another number than theirs does not start.
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

__all__ = ["Repartition", "StillServedError"]

LOCK_S = 10.0  # for a daemon that is just starting to be done with it
QUIET_S = 1.0  # the queues are empty, and nothing has come, for so long: what was on its way to them has arrived
LINGER_S = 5.0  # for RabbitMQ to take note that our own consumers are gone
_LOOK_S = 0.1

Tell = Callable[[str, int], None]
"""Told what is being done, and how far it is."""


class StillServedError(LockstoreError):
    """Stop the daemons first: somebody else works on the request queues."""


def _silent(_: str, __: int) -> None:
    """Tell nobody."""


class Repartition:
    """One change to the number of partitions that the settings name: `async with Repartition(...) as work:`.

    As long as the context lasts, no daemon of the namespace can start; what is started meanwhile waits.
    """

    def __init__(self, settings: Settings, store: LockStore, checkpoint: Callable[[str], None] = no_failpoint) -> None:
        """Take the settings as they are to be. `checkpoint` is called by name between the steps."""
        self._settings = settings
        self._store = store
        self._checkpoint = checkpoint
        self._stack = AsyncExitStack()
        self.served = 0  # messages that were in the old queues

    async def __aenter__(self) -> Self:
        """Connect, and keep others away. Raises StillServedError, ConfigError, or one of `link.LOST`."""
        async with AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(connect(self._settings.broker))
            locked = layout.topology_lock(self._connection, self._settings.broker.names)
            try:
                async with asyncio.timeout(LOCK_S):
                    await stack.enter_async_context(locked)
            except TimeoutError:
                raise StillServedError("another process is declaring or changing these queues just now") from None
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def look(self) -> dict[int, layout.Queue]:
        """Find all request queues of the namespace, whoever declared them."""
        return await layout.declared_queues(self._connection, self._settings.broker.names, PARTITIONS_MOST)

    async def daemons(self) -> list[Heartbeat]:
        """Listen for a while, and give the daemons that were heard."""
        return await collect_heartbeats(self._connection, self._settings.broker.names)

    async def change(self, tell: Tell = _silent) -> None:
        """Do it. Raises StillServedError, StoreError, or one of `link.LOST`: then do it again to go on."""
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
        """Serve what is in the queues as a daemon with their number does, until all of it is acknowledged."""
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
        """Count when nobody consumes any more. A queue hears of a channel's end some time after the channel does.

        Only then is a message that was delivered and not acknowledged counted again.
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

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(until_quiet())
            tasks.create_task(session.serve(stop))

    async def _delete(self, queues: dict[int, layout.Queue], tell: Tell) -> None:
        """Delete what is empty, the last one first: so what is left always looks like queues of some number."""
        channel = await underlying_channel(await open_channel(self._connection, publisher_confirms=False))
        for done, number in enumerate(sorted(queues, reverse=True)):
            tell("deleting", done)
            # RabbitMQ deletes a quorum queue only unconditionally. Nothing is bound to it and nobody consumes it, so what
            # is true now is true then.
            (queue,) = (await self._counts([number])).values()
            _refuse_if_served({number: queue})
            if queue.messages:
                raise StillServedError(f"something was published to the queue of partition {number} directly")
            await channel.queue_delete(self._settings.broker.names.request_queue(number))
            self._checkpoint("deleted")
        await channel.close()

    async def _counts(self, numbers: Iterable[int]) -> dict[int, layout.Queue]:
        return await layout.queue_depths(self._connection, self._settings.broker.names, numbers)


def _refuse_if_served(queues: dict[int, layout.Queue]) -> None:
    if any(queue.consumers for queue in queues.values()):
        raise StillServedError("daemons still serve this namespace; stop all of them first")
