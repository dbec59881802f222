"""What has to be asked for: of the lock store how much stands and waits there, of RabbitMQ what is in the queues.

A scrape must not wait for either, and many scrapes must not cost more than few. So an answer is kept for some seconds, there is
one question at a time, and who comes meanwhile gets the answer before.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from daemon.broker.connection import CONNECTION_ERRORS
from daemon.broker.request_queues import Queue
from daemon.serving.runtime import Runtime
from lockstore.errors import LockstoreError, StoreUnavailableError

if TYPE_CHECKING:
    from lockstore.core.statistics import Backlog, LineStatistics

__all__ = ["Kept", "StorePoller"]

EVERY_S = 5.0
"""How often one question is asked at the most."""

_COSTLY = 20  # a question that takes long is asked so many times less often: it costs a twentieth at the most
_ANSWER_S = 10.0  # an answer that takes longer is none
_SCRAPE_S = 0.5  # a scrape waits so long for a fresh answer
_STALE_S = 90.0  # what is older says nothing of the present, and is told no more

T = TypeVar("T")

_log = structlog.get_logger()


class Kept(Generic[T]):
    """The newest answer to one question."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        """Take what asks; what it raises of what may be raised is no answer."""
        self._ask = ask
        self._clock = clock
        self._answer: T | None = None
        self._answered_at = 0.0
        self._next_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def renew(self) -> None:
        """Ask anew if it is time to, and wait a moment for the answer."""
        if self._asking is None and self._clock() >= self._next_at:
            self._asking = asyncio.create_task(self._ask_once())
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=_SCRAPE_S)

    @property
    def newest(self) -> T | None:
        """The answer, None: there is none, or it is too old."""
        return None if self._answer is None or self.age_s > _STALE_S else self._answer

    @property
    def age_s(self) -> float:
        """How old the answer is, in seconds."""
        return self._clock() - self._answered_at

    async def _ask_once(self) -> None:
        started = self._clock()
        try:
            async with asyncio.timeout(_ANSWER_S):
                self._answer = await self._ask()
            self._answered_at = self._clock()
        except (LockstoreError, *CONNECTION_ERRORS) as error:
            _log.debug("census.failed", error=str(error))
        finally:
            self._next_at = self._clock() + max(EVERY_S, (self._clock() - started) * _COSTLY)
            self._asking = None


class StorePoller:
    """The questions of one daemon."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.statistics: Kept[LineStatistics] = Kept(
            lambda: self._store_asked(lambda: runtime.store.store.statistics(1))
        )
        self.examination: Kept[Backlog] = Kept(lambda: self._store_asked(runtime.store.store.backlog))
        self.queues: Kept[tuple[dict[int, Queue], int]] = Kept(self._ask_broker)

    async def take(self) -> None:
        """Ask all of it anew, as far as it is time to."""
        await asyncio.gather(self.statistics.renew(), self.examination.renew(), self.queues.renew())

    async def run(self) -> None:
        """Keep the record of how many wait, until cancelled."""
        while True:
            if not self._runtime.health.conditions(
                "store_away"
            ):  # a question in vain would keep scrapes from asking, too
                await self.statistics.renew()
                if (survey := self.statistics.newest) is not None and self.statistics.age_s < EVERY_S:
                    self._runtime.peers.record.waiting(survey.waiting, time.monotonic())
            await asyncio.sleep(EVERY_S)

    async def _store_asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self._runtime.health.conditions("store_away"):
            raise StoreUnavailableError("the lock store is away")  # so that nobody waits for its time limit
        return await ask()

    async def _ask_broker(self) -> tuple[dict[int, Queue], int]:
        session = self._runtime.active_session.session
        if session is None:
            raise ConnectionError("there is no session")
        return await session.queues()
