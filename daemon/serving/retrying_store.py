"""The store as the daemon uses it: transient failures are retried indefinitely, and nothing is dropped."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import TypeVar

import structlog

from daemon.monitoring.counters import Counters
from daemon.monitoring.health import Health
from lockstore.core.commands import Command
from lockstore.errors import StoreFullError, StoreUnavailableError
from lockstore.stores.base import LockStore
from lockstore.stores.maybe_async import call_maybe_async
from lockstore.stores.results import LEFT_BEHIND_MS, Entry, Outcome, Patrol, Shard
from lockstore.util.backoff import Backoff
from lockstore.util.callbacks import do_nothing
from lockstore.util.cancellation import CancelRequest

__all__ = ["RetryingStore"]

T = TypeVar("T")

_FIRST_S, _MOST_S = 0.05, 1.0  # retry delays while the store is unavailable; short, so that a failover is not prolonged

_log = structlog.get_logger()


class RetryingStore:
    """A lock store that retries transient failures indefinitely."""

    def __init__(
        self, store: LockStore, health: Health, counters: Counters, check: Callable[[], None] = do_nothing
    ) -> None:
        """`check` is called before each attempt to apply commands, and may raise to prevent it."""
        self.store = store
        self.up = True
        self._health = health
        self._counters = counters
        self._check = check

    async def open(self) -> None:
        """Connect the store. Raises ConfigError if a retry would not help."""
        await self.retry(lambda: call_maybe_async(self.store.open))
        self._health.clear("store_away")
        for warning in await self.retry(self.store.warnings):
            _log.warning("store.warning", warning=warning)

    async def apply(
        self, commands: Sequence[Command], sign: Callable[[], None] = do_nothing, check: Callable[[], None] = do_nothing
    ) -> list[Outcome]:
        """Apply a batch; all commands are safe to repeat, so an unanswered batch is repeated. `sign`: as in `retry`.

        `check` is called before each attempt; it raises, ending the attempts, if the messages were redelivered elsewhere.
        """

        async def once() -> list[Outcome]:
            self._check()
            check()
            try:
                return await self.store.apply(commands)
            except StoreFullError as error:
                # The requests were rejected. Waiting for memory instead would block the releases behind them, which free
                # it.
                if error.outcomes is None:
                    raise
                _log.warning("store.full", error=str(error))
                return list(error.outcomes)

        return await self.retry(once, sign)

    async def confirm(self, entries: Sequence[Entry], sign: Callable[[], None]) -> None:
        """Remove published events from the outbox. `sign`: as in `retry`."""
        if entries:
            await self.retry(lambda: self.store.confirm(entries), sign)

    async def patrol(self, shards: Sequence[Shard], in_hand: Container[Entry], sign: Callable[[], None]) -> Patrol:
        """Find overdue tickets, and events that were left behind, perhaps without those `in_hand`: being published here.

        Raises ConversationError. `sign`: as in `retry`.
        """
        self.store.in_hand = in_hand
        return await self.retry(lambda: self.store.patrol(shards, LEFT_BEHIND_MS), sign)

    async def follow(self, on_hint: Callable[[Shard], None], sign: Callable[[], None]) -> None:
        """Have `on_hint` called when another process leaves events behind. `sign`: as in `retry`."""
        await self.retry(lambda: self.store.follow(on_hint), sign)

    def shards(self) -> Sequence[Shard]:
        """Return all shards."""
        return self.store.shards()

    def shard_of(self, conversation_id: str) -> Shard:
        """Return the shard of a conversation."""
        return self.store.shard_of(conversation_id)

    async def retry(self, call: Callable[[], Awaitable[T]], sign: Callable[[], None] = do_nothing) -> T:
        """Repeat a call until the store answers. `sign` is called before each retry, to show that the caller is waiting."""
        backoff, request = Backoff(_FIRST_S, _MOST_S), CancelRequest()
        while True:
            try:
                answer = await call()
            except StoreUnavailableError as error:
                request.check(error)  # a store may treat its own cancellation as a failure
                pause_s = backoff.next_s()
                if self.up:
                    _log.warning("store.unavailable", error=str(error))
                self.up = False
                self._counters.store_failures += 1
                self._health.set("store_away", str(error))
                await asyncio.sleep(pause_s)
                sign()
            else:
                request.check()
                if not self.up:
                    _log.info("store.available")
                    self._health.clear("store_away")
                self.up = True
                return answer
