"""The sweeper: processes expired deadlines, undeliverable grants, and events left behind by other processes.

Any number of daemons may sweep the same store; the second one finds nothing to do.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from daemon.monitoring.batch_report import BatchReport
from daemon.monitoring.stalls import ProgressCounter
from daemon.serving.announcer import Announcer
from daemon.serving.batch_processor import BatchProcessor
from daemon.serving.deadlines import Withdrawals
from daemon.serving.dispatcher import Dispatcher
from daemon.serving.pending_publish import PublishResult, UnroutableGrant
from daemon.serving.runtime import Runtime
from lockstore.core.commands import Command
from lockstore.errors import ConversationError
from lockstore.stores.results import Notice, Patrol, Shard

__all__ = ["PATROL_S", "Sweeper"]

PATROL_S = 1.0
"""How often every shard is searched for what others left behind."""

_log = structlog.get_logger()


class Sweeper:
    """Waits for deadlines and withdrawals, and patrols the shards."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher, withdrawals: Withdrawals) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._dispatcher = dispatcher
        dispatcher.on_settled = runtime.deadlines.wakeup.set
        self._checkpoint = runtime.failpoint
        self._deadlines = runtime.deadlines
        self._counters = runtime.counters
        self._withdrawals = withdrawals
        self.progress = ProgressCounter("sweeper", lambda: 1)  # the next patrol is always pending

    async def run(self, announcer: Announcer) -> None:
        """Sweep until cancelled. Raises BrokerLostError."""
        self._announcer = announcer
        self._processor = BatchProcessor(self._runtime, announcer, self._withdrawals, self.progress)
        await self._store.follow(lambda shard: self._deadlines.set(shard, 0), self.progress.step)
        patrol_at = time.monotonic()
        while True:
            self.progress.step()
            until_patrol_s = patrol_at - time.monotonic()
            if until_patrol_s <= 0:
                await self._patrol(self._store.shards())
                patrol_at = time.monotonic() + PATROL_S
                continue
            await self._rest(until_patrol_s)
            if gone := self._withdrawals.take():
                await self._withdraw(gone)
            await self._let_go()
            if shards := self._deadlines.due():
                await self._patrol(shards)

    async def _rest(self, most_s: float) -> None:
        """Wait until there is work, at most `most_s`."""
        next_s = self._deadlines.next_in_s()
        try:
            async with asyncio.timeout(most_s if next_s is None else min(next_s, most_s)):
                await self._deadlines.wakeup.wait()
        except TimeoutError:
            return
        self._deadlines.wakeup.clear()

    async def _withdraw(self, gone: Sequence[UnroutableGrant]) -> None:
        await self._serve([item.withdraw for item in gone])
        for item in gone:
            item.stored()  # only now: before that the grant would have to be published again

    async def _let_go(self) -> None:
        """Remove events from the outbox that were confirmed after their batch was finished."""
        if entries := self._dispatcher.settled:
            await self._store.confirm(entries, self.progress.step)
            self._dispatcher.let_go(entries)

    async def _patrol(self, shards: Sequence[Shard]) -> None:
        await self._let_go()
        try:
            found = await self._store.patrol(shards, self._dispatcher.late, self.progress.step)
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
                self._deadlines.set(self._store.shard_of(command.conversation_id), 0)

    async def _recover(self, found: Patrol) -> None:
        """Publish events that were left behind, except those that this process is publishing or retaining itself."""
        left = [notice for notice in found.unannounced if notice.entry not in self._dispatcher.late]
        if found.unreadable:
            await self._announcer.set_aside(found.unreadable)
            entries = [item.entry for item in found.unreadable]
            await self._store.confirm(entries, self.progress.step)
        if left:
            await self._publish(left)
            self._counters.recovered(left)
            _log.info("sweep.announced", events=len(left))

    async def _serve(self, commands: Sequence[Command]) -> list[Command]:
        """Process commands as the pipeline processes those of messages. Returns the commands served."""
        served: list[Command] = []
        notices: list[Notice] = []
        taken_at, taken_ns = time.perf_counter(), time.time_ns()
        outcomes = await self._processor.store(commands)
        stored_at = time.perf_counter()
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, ConversationError):
                _log.error("sweep.conversation_failed", conversation=command.conversation_id, error=str(outcome))
            else:
                served.append(command)
                notices += outcome
        self._checkpoint("swept")
        published = await self._publish(notices)
        self._processor.report(
            BatchReport(
                partition=None,
                messages=0,
                requests=0,
                notices=notices,
                store_ms=(stored_at - taken_at) * 1000,
                took_ms=(time.perf_counter() - taken_at) * 1000,
                taken_ns=taken_ns,
                unreachable=len(published.unreachable),
                refused=published.refused,
            )
        )
        return served

    async def _publish(self, notices: Sequence[Notice]) -> PublishResult:
        published = await self._processor.confirmed(await self._processor.publish(notices))
        await self._processor.settle(published)
        return published
