"""Counters of this process since its start. They are updated once per finished batch, not per message."""

from collections import Counter
from collections.abc import Iterable

from daemon.monitoring.batch_report import BatchReport
from daemon.monitoring.cumulative import BINS, Counts, bin_of
from daemon.monitoring.histogram import Histogram
from lockstore.core.events import REFUSALS, Cancelled, Event, Expired, Granted, Queued, Released, Renewed
from lockstore.stores.results import Notice

__all__ = ["STAGES", "Counters"]

_SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 3600)
_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

_REFUSALS = sorted({reason for reason, _ in REFUSALS.values()} | {"invalid", "too_large", "wrong_partition"})

_ENDS = (Released, Expired, Cancelled)

STAGES = ("decode", "store", "announce", "acknowledge")
"""The steps of the pipeline, in order."""


class Counters:
    """Counts of transitions, and histograms of durations. Totals never decrease."""

    def __init__(self) -> None:
        self.messages = 0
        self.requests = 0
        self.redeliveries = 0
        self.queued = 0
        self.grants = 0
        self.renewals = 0
        self.releases: Counter[str] = Counter(holder=0, forced=0)
        self.expiries: Counter[str] = Counter(held=0, waiting=0)
        self.cancellations: Counter[str] = Counter(requester=0, unreachable=0, forced=0)
        # Every reason exists from the first scrape on: Prometheus sees no increase in a series that begins at 1.
        self.rejections: Counter[str] = Counter(dict.fromkeys(_REFUSALS, 0))
        self.dead_letters: Counter[str] = Counter(dict.fromkeys([*_REFUSALS, "unreadable"], 0))
        self.refused = 0
        self.recoveries = 0
        self.store_failures = 0
        self.reconnects = 0
        self.repairs = 0
        self.wait_s = Histogram(_LONG_S)
        self.hold_s = Histogram(_LONG_S)
        self.hand_off_s = Histogram(_SHORT_S)
        self._hand_offs = [0] * BINS  # the same in finer steps, for heartbeats
        self.batch_messages = Histogram(_MESSAGES)
        self.stage_s = {stage: Histogram(_SHORT_S) for stage in STAGES}

    def served(self, batch: BatchReport) -> None:
        """Count one batch: an observer."""
        # The messages of a batch finish together, when the broker has confirmed.
        if hand_offs := self._count([notice.event for notice in batch.notices]):
            self.hand_off_s.add(batch.took_ms / 1000, hand_offs)
            self._hand_offs[bin_of(batch.took_ms)] += hand_offs
        self.refused += batch.refused
        if batch.partition is None:
            return
        self.messages += batch.messages
        self.requests += batch.requests
        self.redeliveries += batch.redelivered
        self.rejections.update(batch.rejections)
        self.dead_letters.update(batch.dead_letters)
        self.batch_messages.add(batch.messages)
        took_ms = (batch.decode_ms, batch.store_ms, batch.announce_ms, batch.acknowledge_ms)
        for stage, took in zip(STAGES, took_ms, strict=True):
            self.stage_s[stage].add(took / 1000)

    def counts(self) -> Counts:
        """Return the counts for heartbeats."""
        return Counts(
            requests=self.requests,
            grants=self.grants,
            releases=self.releases.total(),
            expiries=self.expiries.total(),
            hand_offs=tuple(self._hand_offs),
        )

    def recovered(self, notices: Iterable[Notice]) -> None:
        """Count events that another process caused and left to be published."""
        events = [notice.event for notice in notices]
        self.recoveries += len(events)
        self._count(events)

    def _count(self, events: Iterable[Event]) -> int:
        """Count transitions, and return the number of hand-offs: a ticket ended, and the one behind it was granted."""
        waits_s: list[float] = []
        hand_offs = 0
        last: Event | None = None
        for event in events:
            if event.repeated:
                continue  # a repeated answer, not a new event
            match event:  # the most frequent ones first: this loop runs for every event
                case Granted():
                    waits_s.append(event.waited_ms / 1000)
                    # The events of one command are adjacent: the end comes first.
                    follows = isinstance(last, _ENDS) and last.conversation_id == event.conversation_id
                    hand_offs += follows or event.waited_ms > 0
                case Released():
                    self.releases[event.reason] += 1
                    self.hold_s.add(event.held_ms / 1000)
                case Queued():
                    self.queued += 1
                case Renewed():
                    self.renewals += 1
                case Expired():
                    self.expiries[event.phase] += 1
                case Cancelled():
                    self.cancellations[event.reason] += 1
            last = event
        self.grants += len(waits_s)
        self.wait_s.add_all(waits_s)
        return hand_offs
