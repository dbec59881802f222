"""The client that a replica uses: locks by conversation, and the public events."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from lockstore.client.acquire import LockAcquirer
from lockstore.client.call_state import Call
from lockstore.client.cleanup import run_to_end
from lockstore.client.entering_task import check_entering_task
from lockstore.client.event_stream import EventStream
from lockstore.client.held_ticket import HeldTicket
from lockstore.client.hold import LeaseGuard
from lockstore.client.loop_affinity import LoopAffinity
from lockstore.client.outbound import LockParams
from lockstore.client.reconnect import broker_url
from lockstore.client.registry import CallRegistry
from lockstore.errors import ConfigError, LockError
from lockstore.protocol.messages import Outbound
from lockstore.protocol.naming import Names

__all__ = ["LockClient"]

CANCEL_AGAIN_S = 0.5
CLOSE_LIMIT_S = 5.0  # for bodies to stop and releases to be sent; what is not sent by then ends by itself


class LockClient:
    """A connection to a lockstore daemon through RabbitMQ: `async with LockClient(url) as locks:`.

    `namespace` and `partitions` are those of the daemon; a wrong number of partitions corrects itself at the first answer.
    The URL may carry aiormq's options in its query (`heartbeat`, for amqps `cafile`, `certfile`, `keyfile`).

    Opening does not wait for the broker: while it is away, locks wait as they do for their turn, and the client goes on
    connecting. One client serves any number of tasks of the event loop that opened it, and no other loop. Raises ConfigError for an impossible argument.
    """

    def __init__(self, url: str, *, namespace: str = "lockstore", partitions: int = 1) -> None:
        if partitions < 1:
            raise ConfigError("partitions: must be at least 1")
        self._url = broker_url(url)
        self._names = Names(namespace)
        self._partitions = partitions
        self._registry: CallRegistry | None = None
        self._affinity: LoopAffinity | None = None  # since it was opened for the first time
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"LockClient(host={urlsplit(self._url).hostname!r}, namespace={self._names.namespace!r})"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin to connect. Does not wait for it."""
        if self._registry is not None:
            self._opened()
            raise RuntimeError("the client is open already")
        self._affinity = LoopAffinity()
        self._registry = registry = CallRegistry(self._url, self._names, self._partitions)
        self._tasks = [
            asyncio.create_task(registry.link.run(), name="lockstore link"),
            asyncio.create_task(registry.outbox.run(), name="lockstore outbox"),
        ]

    async def close(self) -> None:
        """Fail what waits, stop what holds (LockLostError in its body), give everything back, and disconnect.

        Not to be called from within the body of a lock. May be called again. It ends within some seconds, and a cancellation
        goes on only then: nobody else would give back what is held.
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
        """Hold a conversation's lock while the body runs, and give it back at the end.

        `wait`: seconds to stand in line, 0 = now or not at all. `lifetime`: seconds of lease, which the client renews; it
        says how long others wait if this process dies. `holder`: a name to show to operators. None: the daemon's default.

        Raises BusyError, WaitExpiredError (also when no broker or daemon answered in time) or RefusedError instead of
        running the body. If the lease is lost the body is cancelled *before* it can have ended, and LockLostError comes
        out in place of that cancellation; an exception of the body's own always comes out as it is. The task that is
        cancelled is the one that entered: enter it in the task that runs the body. LockError refuses a task that cannot be.
        """
        registry = self._opened()
        check_entering_task()
        wanted = LockParams(conversation_id, wait, lifetime, holder)
        wanted.check()
        call = Call(wanted, asyncio.get_running_loop().time(), _new_id)
        await LockAcquirer(call, registry).obtain()
        try:
            async with LeaseGuard(call, registry):
                yield HeldTicket(call)
        finally:
            await registry.give_back(call)

    def events(self, *types: str, conversation: str | None = None) -> AsyncGenerator[Outbound, None]:
        """Follow the public events: those of the named types, or all; of one conversation, or of all.

        Types are queued, granted, released, expired and cancelled. It begins with the first iteration. Events of the time
        without a connection are missed, as are the oldest when the reader falls far behind. It ends when the client is
        closed; `contextlib.aclosing` around it unsubscribes at once when the reader stops earlier.
        """
        feed = EventStream(self._opened().link, types, conversation)
        return self._read(feed)

    async def _shut_down(self, registry: CallRegistry) -> None:
        registry.link.is_closing = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_LIMIT_S):
                    await registry.close()
        finally:
            ending = set(self._tasks)
            while ending:
                for task in ending:
                    task.cancel()
                # Again after a while: aiormq loses a cancellation that meets the end of one of its own tasks.
                _, ending = await asyncio.wait(ending, timeout=CANCEL_AGAIN_S)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, feed: EventStream) -> AsyncGenerator[Outbound, None]:
        if self._affinity is not None:
            self._affinity.check()
        async with aclosing(feed.events()) as events:
            async for event in events:
                yield event

    def _opened(self) -> CallRegistry:
        if self._affinity is not None:
            if self._registry is None:
                raise LockError("the client is not open any more: it was closed")
            self._affinity.check()
        if self._registry is None:
            raise LockError("the client is not open: use it in `async with LockClient(...) as locks:`")
        return self._registry


def _new_id() -> str:
    return uuid.uuid4().hex
