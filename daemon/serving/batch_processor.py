"""The order of a batch: store, publish, await the confirms, remove from the outbox, report. Nothing else implements it.

The pipeline processes requests in this order, and the sweeper expired and undeliverable tickets. What the pipeline adds,
decoding before it and acknowledging at its end, is in `daemon/serving/pipeline.py`.
"""

from collections.abc import Callable, Sequence

from daemon.monitoring.batch_report import BatchReport
from daemon.monitoring.stalls import ProgressCounter
from daemon.serving.announcer import Announcer
from daemon.serving.deadlines import Withdrawals
from daemon.serving.pending_publish import PendingPublish, PublishResult
from daemon.serving.runtime import Runtime
from lockstore.core.commands import Command
from lockstore.stores.results import Notice, Outcome
from lockstore.util.callbacks import do_nothing

__all__ = ["BatchProcessor"]


class BatchProcessor:
    """Processes batches for one pipeline, or for the sweeper; `progress` counts its steps."""

    def __init__(
        self, runtime: Runtime, announcer: Announcer, withdrawals: Withdrawals, progress: ProgressCounter
    ) -> None:
        self._store = runtime.store
        self._deadlines = runtime.deadlines
        self._observers = runtime.observers
        self._announcer = announcer
        self._withdrawals = withdrawals
        self._progress = progress

    async def store(self, commands: Sequence[Command], check: Callable[[], None] = do_nothing) -> list[Outcome]:
        """Apply commands to the lock store, however long it is unavailable.

        `check` is called before each attempt; it raises if the commands' messages were redelivered elsewhere meanwhile. A
        sweep needs none: its commands apply only to tickets that are still as they were found.
        """
        outcomes = await self._store.apply(commands, self._progress.step, check)
        self._progress.step()
        return outcomes

    async def publish(self, notices: Sequence[Notice]) -> PendingPublish:
        """Send what was stored, without waiting for the broker, and note the deadlines it sets. Raises BrokerLostError."""
        self._deadlines.watch(notices, self._store.shard_of)
        pending = await self._announcer.send(notices)
        self._progress.step()
        return pending

    async def confirmed(self, pending: PendingPublish) -> PublishResult:
        """Wait for the broker's confirms, until they are late, and have undeliverable grants withdrawn at once.

        Raises BrokerLostError.
        """
        published = await pending.wait()
        self._progress.step()
        self._withdrawals.add(published.unreachable)
        return published

    async def settle(self, published: PublishResult) -> None:
        """Remove the events that the broker has confirmed from the store's outbox."""
        await self._store.confirm(published.entries, self._progress.step)

    def report(self, report: BatchReport) -> None:
        """Notify the observers of a finished batch."""
        self._observers.notify(report)
