"""The store as the daemon sees it: what fails for now is tried again, for as long as it takes, and nothing is dropped."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from daemon.monitoring.counters import Counters
from daemon.monitoring.health import Health
from lockstore.core.commands import Command
from lockstore.errors import StoreFullError, StoreUnavailableError
from lockstore.stores.base import LockStore
from lockstore.stores.maybe_async import call_maybe_async
from lockstore.stores.results import Outcome
from lockstore.util.backoff import Backoff

__all__ = ["RetryingStore"]

T = TypeVar("T")

_FIRST_S, _MOST_S = 0.05, 1.0  # pauses between tries while the store is away; a failover must not wait for us

_log = structlog.get_logger()


def _nothing() -> None:
    """Let it pass."""


class RetryingStore:
    """A lock store that never says no for long."""

    def __init__(
        self, store: LockStore, health: Health, counters: Counters, check: Callable[[], None] = _nothing
    ) -> None:
        """Take the store. `check` is called before each try to apply something; what it raises keeps it from happening."""
        self.store = store
        self.up = True
        self._health = health
        self._counters = counters
        self._check = check

    async def open(self) -> None:
        """Connect the store. Raises ConfigError where trying again would not help."""
        await self.retry(lambda: call_maybe_async(self.store.open))
        self._health.clear("store_away")
        for warning in await self.retry(self.store.warnings):
            _log.warning("store.warning", warning=warning)

    async def apply(
        self, commands: Sequence[Command], sign: Callable[[], None] = _nothing, check: Callable[[], None] = _nothing
    ) -> list[Outcome]:
        """Apply a batch; every command is safe to apply again, so an unanswered batch simply is. `sign`: as in `retry`.

        `check` is called before each try: what it raises, because the messages are another's by now, ends the tries.
        """

        async def once() -> list[Outcome]:
            self._check()
            check()
            try:
                return await self.store.apply(commands)
            except StoreFullError as error:
                # The requests were refused. Waiting for memory instead would keep the releases behind them from giving some.
                if error.outcomes is None:
                    raise
                _log.warning("store.full", error=str(error))
                return list(error.outcomes)

        return await self.retry(once, sign)

    async def retry(self, call: Callable[[], Awaitable[T]], sign: Callable[[], None] = _nothing) -> T:
        """Make a call until the store answers. `sign` is called before each further try: the caller is alive, and waits."""
        backoff = Backoff(_FIRST_S, _MOST_S)
        while True:
            try:
                answer = await call()
            except StoreUnavailableError as error:
                pause_s = backoff.next_s()
                if self.up:
                    _log.warning("store.unavailable", error=str(error))
                self.up = False
                self._counters.store_failures += 1
                self._health.set("store_away", str(error))
                await asyncio.sleep(pause_s)
                sign()
            else:
                if not self.up:
                    _log.info("store.available")
                    self._health.clear("store_away")
                self.up = True
                return answer
