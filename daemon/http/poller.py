"""What has to be asked for: of the lock store its statistics and its backlog, of RabbitMQ what exists there.

A scrape must not wait for either, and many scrapes or viewers must not cost more than few. So an answer is kept for some
seconds, each question is asked once at a time, and whoever comes meanwhile gets the answer before.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from daemon.broker.connection import CONNECTION_ERRORS
from daemon.http.cache import Cache, Pace
from daemon.serving.runtime import Runtime, ServingSession
from lockstore.errors import LockstoreError, StoreUnavailableError

if TYPE_CHECKING:
    from daemon.cluster.broker_state import BrokerState
    from lockstore.core.statistics import Backlog, LineStatistics

__all__ = ["EVERY_S", "STALE_S", "PolledAnswer", "StorePoller"]

EVERY_S = 5.0
"""How often one question is asked at the most."""

STALE_S = 90.0
"""An older answer says nothing of the present, and is not given any more."""

PACE = Pace(least_s=EVERY_S, times=20, failure_s=EVERY_S)
"""A question costs a twentieth of the time at the most."""

_ANSWER_S = 10.0  # an answer that takes longer is none
_SCRAPE_S = 0.5  # a scrape waits so long for a fresh answer
_REPLY_QUEUES_MOST = 64  # sets of them that are remembered

T = TypeVar("T")

_log = structlog.get_logger()


class PolledAnswer(Generic[T]):
    """The newest answer to one question."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        """`ask` fetches the answer; if it raises one of the expected errors, there is none."""
        self._ask = ask
        self._clock = clock
        self._cache: Cache[T] = Cache(1, 1, PACE, clock)

    async def renew(self) -> None:
        """Ask again if it is time to, and wait a moment for the answer."""
        try:
            async with asyncio.timeout(_SCRAPE_S):
                await self._cache.get("", self._ask_in_time)
        except (LockstoreError, TimeoutError, *CONNECTION_ERRORS) as error:
            _log.debug("census.failed", error=str(error))

    async def current(self) -> T | None:
        """Return the answer, refreshed if it is due, or None."""
        await self.renew()
        return self.newest

    @property
    def newest(self) -> T | None:
        """The answer, None: there is none, or it is too old."""
        answer = self._cache.newest("")
        return None if answer is None or self._clock() - answer.at > STALE_S else answer.value

    @property
    def age_s(self) -> float:
        """How old the answer is, in seconds."""
        answer = self._cache.newest("")
        return float("inf") if answer is None else self._clock() - answer.at

    async def _ask_in_time(self) -> T:
        async with asyncio.timeout(_ANSWER_S):
            return await self._ask()


class StorePoller:
    """The questions of one daemon."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.statistics: PolledAnswer[LineStatistics] = PolledAnswer(
            lambda: self._ask_store(lambda: runtime.store.store.statistics(1))
        )
        self.backlog: PolledAnswer[Backlog] = PolledAnswer(lambda: self._ask_store(runtime.store.store.backlog))
        self.broker_state: PolledAnswer[BrokerState] = PolledAnswer(lambda: self._session().broker_state())
        self._reply_queues: Cache[dict[str, bool]] = Cache(_REPLY_QUEUES_MOST, 1, PACE)

    async def take(self) -> None:
        """Ask all of it again, as far as it is time to."""
        await asyncio.gather(self.statistics.renew(), self.backlog.renew(), self.broker_state.renew())

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

    # --- for the status page ------------------------------------------------------------------------------------------

    async def current_backlog(self) -> "Backlog | None":
        """Return what remains to be announced and ended, or None if that is unknown."""
        return await self.backlog.current()

    async def current_broker_state(self) -> "BrokerState | None":
        """Return the broker's state, with this daemon's current state, or None if that is unknown."""
        state = await self.broker_state.current() if self._runtime.active_session.session is not None else None
        if state is None:
            return None
        me = {"reasons": self._runtime.health.describe(), "notes": self._runtime.describe_notes()}
        return replace(
            state,
            daemons=[
                word.model_copy(update=me) if word.daemon == self._runtime.identity.daemon else word
                for word in self._runtime.peers.speaking(time.monotonic())
            ],
        )

    async def read_queues(self, queues: Iterable[str]) -> dict[str, bool]:
        """Return which queues exist, without those that could not be checked."""
        names = tuple(sorted(set(queues)))

        async def ask() -> dict[str, bool]:
            async with asyncio.timeout(_ANSWER_S):
                return await self._session().read_queues(names)

        if not names:
            return {}
        try:
            return await self._reply_queues.get(names, ask)
        except (TimeoutError, *CONNECTION_ERRORS) as error:
            _log.debug("census.failed", error=str(error))
            return {}

    async def _ask_store(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        if self._runtime.health.conditions("store_away"):
            raise StoreUnavailableError("the lock store is away")  # so that nobody waits for its time limit
        return await ask()

    def _session(self) -> ServingSession:
        session = self._runtime.active_session.session
        if session is None:
            raise ConnectionError("there is no session")
        return session
