"""The client for replicas: locks by conversation, and the public events."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING

from lockstore.amqp.hosts import CONNECT_LIMIT_S
from lockstore.client.acquire import LockAcquirer
from lockstore.client.call_state import Call
from lockstore.client.cleanup import run_to_end
from lockstore.client.entering_task import check_entering_task
from lockstore.client.event_stream import EventStream
from lockstore.client.held_ticket import HeldTicket
from lockstore.client.hold import LeaseGuard
from lockstore.client.loop_affinity import LoopAffinity
from lockstore.client.outbound import LockParams
from lockstore.client.reconnect import broker_hosts
from lockstore.client.registry import CallRegistry
from lockstore.errors import ConfigError, LockError
from lockstore.protocol.messages import Outbound
from lockstore.protocol.naming import Names
from lockstore.util.identity import our_process
from lockstore.util.timeouts import timeout

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LockClient"]

CANCEL_AGAIN_S = 0.5
CLOSE_LIMIT_S = 5.0  # for stopping bodies and sending releases; unsent releases expire with their leases


class LockClient:
    """A connection to a lockstore daemon through RabbitMQ: `async with LockClient(url) as locks:`.

    `namespace` and `partitions` are those of the daemon; a wrong number of partitions is corrected by the first answer.
    `holder` is the name of this process for operators, by default user@host:pid. The URL may name several hosts,
    `amqp://user:password@host1:5672,host2:5672/vhost`. They are tried in random order, each of their addresses for at most
    `connect_timeout` seconds; after a lost connection the others come first. The URL may contain aiormq's options in its
    query (`heartbeat`, for amqps `cafile`, `certfile`, `keyfile`).

    Opening does not wait for the broker: while it is unreachable, calls wait as they do for their turn, and the client
    keeps reconnecting. A client serves any number of tasks of the event loop that opened it. Raises ConfigError for an
    invalid argument.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "lockstore",
        partitions: int = 1,
        connect_timeout: float = CONNECT_LIMIT_S,
        holder: str | None = None,
    ) -> None:
        if partitions < 1:
            raise ConfigError("partitions: must be at least 1")
        self._hosts = broker_hosts(url, connect_timeout)
        self._names = Names(namespace)
        self._partitions = partitions
        self._holder = holder
        self._registry: CallRegistry | None = None
        self._affinity: LoopAffinity | None = None  # set when it is first opened
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"LockClient(host={self._hosts.names!r}, namespace={self._names.namespace!r})"

    async def __aenter__(self) -> "Self":
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Start connecting, without waiting for the connection."""
        if self._registry is not None:
            self._opened()
            raise RuntimeError("the client is already open")
        self._affinity = LoopAffinity()
        self._registry = registry = CallRegistry(self._hosts, self._names, self._partitions)
        self._tasks = [
            asyncio.create_task(registry.reconnector.run(), name="lockstore connection"),
            asyncio.create_task(registry.releases.run(), name="lockstore releases"),
        ]

    async def close(self) -> None:
        """Fail waiting calls, stop bodies that hold a lock (with LockLostError), release everything, and disconnect.

        Do not call it inside the body of a lock. It may be called repeatedly. It takes at most a few seconds; a
        cancellation is postponed until then, because otherwise locks would remain held.
        """
        if self._registry is not None:
            registry = self._opened()
            self._registry = None
            await run_to_end(self._shut_down(registry))

    @asynccontextmanager
    async def lock(
        self,
        conversation_id: str,
        *,
        wait: float | None = None,
        lifetime: float | None = None,
        holder: str | None = None,
    ) -> AsyncIterator[HeldTicket]:
        """Hold a conversation's lock while the body runs, and release it at the end.

        `wait`: maximum time in line in seconds; 0: granted immediately or rejected. `lifetime`: seconds of the lease, which
        the client renews; it determines how long others wait if this process dies. `holder`: a name shown to operators, in
        place of the client's. None: the daemon's default.

        Raises BusyError, WaitExpiredError (also if no broker or daemon answered in time) or RefusedError instead of running
        the body. If the lease is lost, the body is cancelled *before* the lease can have expired, and LockLostError
        replaces that cancellation; exceptions of the body itself are propagated unchanged. The task that entered is
        cancelled, so enter in the task that runs the body; LockError is raised in a task where this is impossible.
        """
        registry = self._opened()
        check_entering_task()
        params = LockParams(conversation_id, wait, lifetime, self._name(holder))
        params.check()
        call = Call(params, asyncio.get_running_loop().time(), _new_id)
        await LockAcquirer(call, registry).obtain()
        try:
            async with LeaseGuard(call, registry):
                yield HeldTicket(call)
        finally:
            await registry.give_back(call)

    def events(self, *types: str, conversation: str | None = None) -> AsyncGenerator[Outbound, None]:
        """Iterate over the public events: of the given types, or all; of one conversation, or of all.

        Types are queued, granted, released, expired and cancelled. The subscription starts with the first iteration. Events
        are missed while there is no connection, and the oldest are dropped if the reader falls far behind. Iteration ends
        when the client is closed; with `contextlib.aclosing` a reader that stops earlier unsubscribes immediately.
        """
        feed = EventStream(self._opened().reconnector, types, conversation)
        return self._read(feed)

    async def _shut_down(self, registry: CallRegistry) -> None:
        try:
            with suppress(TimeoutError):
                async with timeout(CLOSE_LIMIT_S):
                    await registry.close()
        except asyncio.CancelledError:  # with every other task of the event loop: the reconnector then gives all back
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=CLOSE_LIMIT_S)
            raise
        finally:
            registry.reconnector.is_closing = True
            ending = set(self._tasks)
            while ending:
                for task in ending:
                    task.cancel()
                # Repeated, because aiormq loses a cancellation that coincides with the end of one of its own tasks.
                _, ending = await asyncio.wait(ending, timeout=CANCEL_AGAIN_S)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, feed: EventStream) -> AsyncGenerator[Outbound, None]:
        if self._affinity is not None:
            self._affinity.check()
        async with aclosing(feed.events()) as events:
            async for event in events:
                yield event

    def _name(self, holder: str | None) -> str:
        """Return the holder's name of a call. The process's own is asked for each time: it may have been forked."""
        if holder is not None:
            return holder
        return our_process() if self._holder is None else self._holder

    def _opened(self) -> CallRegistry:
        if self._affinity is not None:
            if self._registry is None:
                raise LockError("the client is closed")
            self._affinity.check()
        if self._registry is None:
            raise LockError("the client is not open: use it in `async with LockClient(...) as locks:`")
        return self._registry


def _new_id() -> str:
    return uuid.uuid4().hex
