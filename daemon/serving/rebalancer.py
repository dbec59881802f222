"""Rebalancing: measures the load of the partitions, exchanges heartbeats with other daemons, and yields partitions."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from daemon.cluster.fair_share import FairShare
from daemon.cluster.heartbeat import Heartbeat, HeartbeatChannel
from daemon.serving.partition_worker import PartitionWorker
from daemon.serving.runtime import Runtime

__all__ = ["LOOK_S", "SAY_S", "Rebalancer"]

LOOK_S = 0.25
"""How often the workers are checked. A surplus partition is yielded about this soon, one at a time."""

SAY_S = 1.0
"""How often a heartbeat is sent when nothing changes; a change is sent at the next check."""

_log = structlog.get_logger()


class Rebalancer:
    """This daemon's share of the partitions, on one connection."""

    def __init__(self, runtime: Runtime, workers: Sequence[PartitionWorker]) -> None:
        self._runtime = runtime
        self._workers = {worker.number: worker for worker in workers}
        self._balance = FairShare(runtime.identity.daemon)
        self._active: frozenset[int] = frozenset()
        self._is_leaving = False

    def hear(self, word: Heartbeat) -> None:
        """Process a heartbeat; our own ones arrive too."""
        if word.daemon == self._runtime.identity.daemon:
            return
        if word.leaving:
            self._balance.ended(word.daemon, time.monotonic())
        else:
            self._balance.heard(word.daemon, word.busy, time.monotonic())

    async def run(self, presence: HeartbeatChannel) -> None:
        """Measure, send heartbeats and yield partitions until cancelled. Raises BrokerLostError."""
        said: Heartbeat | None = None
        said_at = 0.0
        while True:
            now = time.monotonic()
            busy = self._look(now)
            chosen = self._choose(busy, now)
            word = self._word(busy, chosen)
            if said is None or now - said_at >= SAY_S or _differ(word, said):
                await presence.send(word)  # before the channel closes, so that the next daemon learns it from us
                said, said_at = word, now
            if chosen is not None:
                self._workers[chosen].yield_partition()
            await asyncio.sleep(LOOK_S)

    async def leave(self, presence: HeartbeatChannel) -> None:
        """Announce that this daemon stops, so that the others need not wait for its silence, and yield nothing more."""
        self._is_leaving = True
        await presence.send(self._word({}, None))

    def _look(self, now: float) -> dict[int, float]:
        """Measure all workers, and return since when the busy ones that count are busy."""
        busy: dict[int, float] = {}
        for number, worker in self._workers.items():
            activity = worker.look(now)
            if activity.busy_since is not None and not worker.is_yielding:
                busy[number] = activity.busy_since
        active = frozenset(number for number, worker in self._workers.items() if worker.activity.is_active)
        for number in sorted(active - self._active):
            _log.info("partition.active", partition=number)
        self._active = active
        return busy

    def _choose(self, busy: dict[int, float], now: float) -> int | None:
        if self._is_leaving or not self._runtime.settings.broker.balance:
            return None
        chosen = self._balance.choose(busy, now)
        if chosen is not None:
            _log.info("partition.passed_on", partition=chosen, busy=len(busy), daemons=self._balance.daemons)
        return chosen

    def _word(self, busy: dict[int, float], chosen: int | None) -> Heartbeat:
        me = self._runtime.identity
        stepping = [number for number, worker in self._workers.items() if worker.is_yielding or number == chosen]
        active = {n: round(self._workers[n].activity.rate, 1) for n in sorted(self._active) if n not in stepping}
        return Heartbeat(
            daemon=me.daemon,
            host=me.host,
            pid=me.pid,
            started_at=me.started_at,
            active=active,
            busy=sorted(busy.keys() - {chosen}),
            stepping_back=stepping,
            counts=self._runtime.counters.counts(),
            reasons=self._runtime.health.describe(),
            notes=self._runtime.describe_notes(),
            leaving=self._is_leaving,
        )


def _differ(one: Heartbeat, other: Heartbeat) -> bool:
    """Return whether anything but a rate has changed."""
    return (one.active.keys(), one.busy, one.stepping_back) != (other.active.keys(), other.busy, other.stepping_back)
