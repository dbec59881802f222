"""Feeds the watchdog of systemd while every part that has work makes progress."""

import asyncio
import time

import structlog

from daemon.monitoring.stalls import LOOK_S, Stall
from daemon.serving.runtime import Runtime
from daemon.systemd.notify import Notifier

__all__ = ["Watchdog"]

_PATIENCE_S = 20.0  # requested at each check while startup waits for the store or broker: several checks ahead
_GOODBYE_S = (
    15.0  # in addition to `stop_timeout`: for closing connections to a broker and a store that may be unreachable
)

_log = structlog.get_logger()


class Watchdog:
    """Checks for stalls, and notifies the service manager."""

    def __init__(self, runtime: Runtime, notifier: Notifier) -> None:
        self._runtime = runtime
        self._notifier = notifier
        self._watchdog_s = None if notifier.watchdog_s is None else notifier.watchdog_s / 2
        self._fed_at = 0.0
        self._has_been_ready = False
        self._status = ""

    async def run(self) -> None:
        """Check regularly until cancelled."""
        interval_s = LOOK_S if self._watchdog_s is None else min(LOOK_S, self._watchdog_s)
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(interval_s)

    def reloading(self) -> None:
        """Report a configuration reload; the next check of a serving daemon reports its end."""
        self._notifier.reloading()
        self._has_been_ready = False

    def stopping(self) -> None:
        """Report the shutdown."""
        self._notifier.stopping(self._runtime.settings.daemon.stop_timeout + _GOODBYE_S)
        self._runtime.health.set("draining", "stopping: finishing accepted work")
        self._tell_status()

    def look(self, now: float) -> None:
        """Check once, at this time of a monotonic clock."""
        health = self._runtime.health
        self._note(self._runtime.stall_detector.look(now, excused=health.is_waiting))
        if not self._has_been_ready:
            self._await_readiness()
        self._tell_status()
        if self._watchdog_s is not None and now - self._fed_at >= self._watchdog_s:
            if not health.conditions("pipeline_stalled"):
                self._notifier.alive()
            self._fed_at = now

    def _note(self, stalls: list[Stall]) -> None:
        health = self._runtime.health
        was_stalled = health.conditions("pipeline_stalled")
        if stalls:
            description = ", ".join(
                f"{stall.name} for {stall.for_s:.0f} s, {stall.waiting} waiting" for stall in stalls
            )
            health.set("pipeline_stalled", description)
            if not was_stalled:
                _log.error("pipeline.stalled", parts=description)
        elif was_stalled:
            health.clear("pipeline_stalled")
            _log.info("pipeline.goes_on")

    def _await_readiness(self) -> None:
        health = self._runtime.health
        if health.is_ready:
            self._has_been_ready = True
            self._notifier.ready()
        elif health.is_waiting and not health.conditions("draining"):
            self._notifier.patience(_PATIENCE_S)

    def _tell_status(self) -> None:
        status = self._describe()
        if status != self._status:
            self._notifier.status(status)
            self._status = status

    def _describe(self) -> str:
        reasons = {reason.name: reason.detail for reason in self._runtime.health.reasons()}
        if "draining" in reasons:
            return "stopping: finishing accepted work"
        if "store_away" in reasons:
            return f"waiting for the lock store: {reasons['store_away']}"
        if "broker_away" in reasons or "not_consuming" in reasons:
            return f"waiting for RabbitMQ: {reasons.get('broker_away') or reasons['not_consuming']}"
        if reasons:
            return "; ".join(f"{name}: {detail}" for name, detail in reasons.items())
        number, active = self._runtime.settings.broker.partitions, self._runtime.active_session.active
        partitions = "1 partition" if number == 1 else f"{number} partitions"
        if not active:  # RabbitMQ does not report which consumer is active; the first message shows it
            return f"standing by for {partitions}"
        return f"serving {len(active)} of {partitions}, {self._runtime.active_session.waiting} waiting"
