"""The sweeper: processes expired deadlines, undeliverable grants, and events left behind by other processes.

Any number of daemons may sweep the same store; the second one finds nothing to do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import structlog

from daemon.monitoring.batch_report import BatchReport
from daemon.monitoring.stalls import ProgressCounter
from daemon.serving.announcer import Announcer
from daemon.serving.dispatcher import Dispatcher
from daemon.serving.pending_publish import PublishResult, UnroutableGrant
from daemon.serving.runtime import Runtime
from lockstore.core.commands import Command
from lockstore.core.events import Event, Granted, Queued, Renewed
from lockstore.errors import ConversationError
from lockstore.stores.results import LEFT_BEHIND_MS, Notice, Patrol, Shard

__all__ = ["PATROL_S", "Sweeper"]

PATROL_S = 1.0
"""How often every shard is searched for what others left behind."""

T = TypeVar("T")

_log = structlog.get_logger()


def _delay_ms(event: Event) -> int | None:
    match event:
        case Queued():
            return event.wait_until_ms - event.at_ms
        case Granted() | Renewed():
            return event.expires_at_ms - event.at_ms
        case _:
            return None


class Sweeper:
    """Waits for deadlines and withdrawals, and patrols the shards."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher) -> None:
        self._retrying_store = runtime.store
        self._dispatcher = dispatcher
        dispatcher.on_settled = self._wake
        self._observers = runtime.observers
        self._checkpoint = runtime.failpoint
        self._deadlines = runtime.deadlines
        self._counters = runtime.counters
        self.progress = ProgressCounter("sweeper", lambda: 1)  # the next patrol is always pending
        self._gone: list[UnroutableGrant] = []
        self._stir = asyncio.Event()

    def watch(self, notices: Iterable[Notice]) -> None:
        """Record the deadlines that these events set."""
        for notice in notices:
            delay_ms = _delay_ms(notice.event)
            if delay_ms is not None:
                shard = self._retrying_store.store.shard_of(notice.event.conversation_id)
                if self._deadlines.set(shard, delay_ms):
                    self._stir.set()

    def _left_behind(self, shard: Shard) -> None:
        if self._deadlines.set(shard, 0):
            self._stir.set()

    def withdraw(self, gone: Sequence[UnroutableGrant]) -> None:
        """Withdraw these tickets immediately."""
        if gone:
            self._gone += gone
            self._stir.set()

    def _wake(self) -> None:
        self._stir.set()

    async def run(self, announcer: Announcer) -> None:
        """Sweep until cancelled. Raises BrokerLostError."""
        self._announcer = announcer
        await self._persist(lambda: self._retrying_store.store.follow(self._left_behind))
        patrol_at = time.monotonic()
        while True:
            self.progress.step()
            until_patrol_s = patrol_at - time.monotonic()
            if until_patrol_s <= 0:
                await self._patrol(self._retrying_store.store.shards())
                patrol_at = time.monotonic() + PATROL_S
                continue
            await self._rest(until_patrol_s)
            if self._gone:
                await self._serve_gone()
            await self._let_go()
            if shards := self._deadlines.due():
                await self._patrol(shards)

    async def _rest(self, most_s: float) -> None:
        """Wait until there is work, at most `most_s`."""
        next_s = self._deadlines.next_in_s()
        try:
            async with asyncio.timeout(most_s if next_s is None else min(next_s, most_s)):
                await self._stir.wait()
        except TimeoutError:
            return
        self._stir.clear()

    async def _serve_gone(self) -> None:
        gone, self._gone = self._gone, []
        await self._serve([item.withdraw for item in gone])
        for item in gone:
            item.stored()  # only now: before that the grant would have to be published again

    async def _let_go(self) -> None:
        """Remove events from the outbox that were confirmed after their batch was finished."""
        if entries := self._dispatcher.settled:
            await self._persist(lambda: self._retrying_store.store.confirm(entries))
            self._dispatcher.let_go(entries)

    async def _patrol(self, shards: Sequence[Shard]) -> None:
        await self._let_go()
        try:
            found: Patrol = await self._persist(lambda: self._retrying_store.store.patrol(shards, LEFT_BEHIND_MS))
        except ConversationError as error:
            _log.error("sweep.failed", error=str(error))
            return
        for shard, delay_ms in found.next_in_ms.items():
            self._deadlines.set(shard, delay_ms)
        await self._recover(found)
        if found.overdue:
            served = await self._serve(found.overdue)
            _log.info("sweep.expired", tickets=len(served))
            # One patrol may not return everything. With damaged data this would never end, so the rest waits for the next
            # patrol.
            for command in served:
                self._deadlines.set(self._retrying_store.store.shard_of(command.conversation_id), 0)

    async def _recover(self, found: Patrol) -> None:
        """Publish events that were left behind, except those that this process is publishing or retaining itself."""
        left = [notice for notice in found.unannounced if notice.entry not in self._dispatcher.late]
        if found.unreadable:
            await self._announcer.set_aside(found.unreadable)
            entries = [item.entry for item in found.unreadable]
            await self._persist(lambda: self._retrying_store.store.confirm(entries))
        if left:
            await self._settle(await self._announcer.announce(left))
            self._counters.recovered(left)
            _log.info("sweep.announced", events=len(left))

    async def _serve(self, commands: Sequence[Command]) -> list[Command]:
        """Store, publish, and remove published events from the outbox, in the pipeline's order. Returns the commands served."""
        served: list[Command] = []
        notices: list[Notice] = []
        taken_at, taken_ns = time.perf_counter(), time.time_ns()
        outcomes = await self._retrying_store.apply(commands, self.progress.step)
        stored_at = time.perf_counter()
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, ConversationError):
                _log.error("sweep.conversation_failed", conversation=command.conversation_id, error=str(outcome))
            else:
                served.append(command)
                notices += outcome
        self._checkpoint("swept")
        self.watch(notices)
        announced = await self._announcer.announce(notices)
        store_ms, took_ms = (stored_at - taken_at) * 1000, (time.perf_counter() - taken_at) * 1000
        await self._settle(announced)
        gone, refused = len(announced.unreachable), announced.refused
        self._observers.notify(BatchReport(None, 0, 0, notices, store_ms, took_ms, taken_ns, gone, refused))
        return served

    async def _settle(self, announced: PublishResult) -> None:
        self.withdraw(announced.unreachable)
        await self._persist(lambda: self._retrying_store.store.confirm(announced.entries))

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._retrying_store.retry(call, self.progress.step)
