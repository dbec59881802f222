"""Metrics for Prometheus: the counters, and what the poller found, under the names of the catalog."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from daemon.http.metrics.catalog import CATALOG
from daemon.http.poller import StorePoller
from daemon.monitoring import log_setup as logs
from daemon.monitoring.health import Condition
from daemon.monitoring.histogram import Histogram
from daemon.serving.runtime import Runtime

__all__ = ["registry_of"]

_HINDRANCES: dict[str, tuple[Condition, bool]] = {  # metric: what it is of, and whether 1 says that it is there
    "lockstore_store_up": ("store_away", False),
    "lockstore_broker_up": ("broker_away", False),
    "lockstore_broker_blocked": ("broker_blocked", True),
    "lockstore_topology_missing": ("topology_missing", True),
    "lockstore_pipeline_stalled": ("pipeline_stalled", True),
}


def registry_of(runtime: Runtime, poller: StorePoller) -> CollectorRegistry:
    """Make the registry of one daemon; nothing else of the process is in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Daemon(runtime, poller))
    ProcessCollector(registry=registry)
    return registry


class _Daemon(Collector):
    """Read at each scrape; never waits for I/O."""

    def __init__(self, runtime: Runtime, poller: StorePoller) -> None:
        self._runtime = runtime
        self._poller = poller

    def collect(self) -> Iterator[Family]:
        """Yield all metrics."""
        build = {"version": version("lockstore"), "python": platform.python_version()}
        yield InfoMetricFamily("lockstore_build", CATALOG["lockstore_build_info"].help, value=build)
        yield from self._health()
        yield from self._http()
        yield from self._counters()
        yield from self._histograms()
        yield from self._lines()
        yield from self._backlog()
        yield from self._queues()

    def _health(self) -> Iterator[Family]:
        health, current = self._runtime.health, self._runtime.active_session
        yield _gauge("lockstore_ready", health.is_ready)
        for name, (hindrance, is_there) in _HINDRANCES.items():
            yield _gauge(name, health.conditions(hindrance) == is_there)
        notes = {note.name for note in health.notes()}
        yield _gauge("lockstore_topology_unwatched", "topology_unwatched" in notes)
        yield _gauge("lockstore_messages_in_hand", current.waiting)
        yield _gauge("lockstore_partitions", self._runtime.settings.broker.partitions)
        yield _gauge("lockstore_partitions_active", len(current.active))

    def _http(self) -> Iterator[Family]:
        connections = self._runtime.http_connections
        if connections is not None:
            yield _gauge("lockstore_http_connections", len(connections))
            closed = {"evicted": float(connections.evicted), "expired": float(connections.expired)}
            yield _counters("lockstore_http_closed_connections_total", closed)

    def _counters(self) -> Iterator[Family]:
        counters = self._runtime.counters
        yield _counter("lockstore_store_failures_total", counters.store_failures)
        yield _counter("lockstore_broker_reconnects_total", counters.reconnects)
        yield _counter("lockstore_topology_repairs_total", counters.repairs)
        yield _counter("lockstore_log_lines_lost_total", logs.lines_lost())
        yield _counter("lockstore_messages_total", counters.messages)
        yield _counter("lockstore_requests_total", counters.requests)
        yield _counter("lockstore_redeliveries_total", counters.redeliveries)
        yield _counter("lockstore_queued_total", counters.queued)
        yield _counter("lockstore_grants_total", counters.grants)
        yield _counter("lockstore_renewals_total", counters.renewals)
        yield _counters("lockstore_releases_total", counters.releases)
        yield _counters("lockstore_expiries_total", counters.expiries)
        yield _counters("lockstore_cancellations_total", counters.cancellations)
        yield _counters("lockstore_rejections_total", counters.rejections)
        yield _counters("lockstore_dead_letters_total", counters.dead_letters)
        yield _counter("lockstore_recovered_events_total", counters.recoveries)
        yield _counter("lockstore_refused_announcements_total", counters.refused)
        outstanding = self._runtime.outstanding
        unconfirmed = {str(lane): float(number) for lane, number in outstanding.unconfirmed().items()}
        yield _gauges("lockstore_events_unconfirmed", unconfirmed)
        yield _counter("lockstore_events_given_up_total", outstanding.given_up)
        yield _counter("lockstore_answers_given_up_total", outstanding.answers_given_up)
        yield _counter("lockstore_events_set_aside_total", outstanding.set_aside)

    def _histograms(self) -> Iterator[Family]:
        counters = self._runtime.counters
        yield _histogram("lockstore_wait_seconds", [("", counters.wait_s)])
        yield _histogram("lockstore_hold_seconds", [("", counters.hold_s)])
        yield _histogram("lockstore_handoff_seconds", [("", counters.hand_off_s)])
        yield _histogram("lockstore_stage_seconds", counters.stage_s.items())
        yield _histogram("lockstore_batch_messages", [("", counters.batch_messages)])

    def _lines(self) -> Iterator[Family]:
        survey = self._poller.statistics.newest
        if survey is None:
            return
        yield _gauge("lockstore_lines", survey.lines)
        yield _gauge("lockstore_tickets", survey.tickets)
        yield _gauge("lockstore_tickets_waiting", survey.waiting)
        yield _gauge("lockstore_oldest_wait_seconds", (survey.oldest_wait_ms or 0) / 1000)
        yield _gauge("lockstore_survey_complete", survey.complete)
        yield _gauge("lockstore_survey_age_seconds", self._poller.statistics.age_s)

    def _backlog(self) -> Iterator[Family]:
        found = self._poller.backlog.newest
        if found is None:
            return
        yield _gauge("lockstore_outbox_events", found.outbox)
        yield _gauge("lockstore_outbox_oldest_seconds", (found.outbox_oldest_ms or 0) / 1000)
        yield _gauge("lockstore_overdue_tickets", found.overdue)
        yield _gauge("lockstore_sweep_lag_seconds", (found.overdue_most_ms or 0) / 1000)

    def _queues(self) -> Iterator[Family]:
        state = self._poller.broker_state.newest
        if state is None:
            return
        messages = {str(number): queue.messages for number, queue in state.queues.items()}
        yield _gauges("lockstore_partition_messages", messages)
        consumers = {str(number): queue.consumers for number, queue in state.queues.items()}
        yield _gauges("lockstore_partition_consumers", consumers)
        if state.dead_letters is not None:
            yield _gauge("lockstore_dead_letters_kept", state.dead_letters)


def _gauge(name: str, value: float) -> Family:
    return GaugeMetricFamily(name, CATALOG[name].help, value=float(value))


def _gauges(name: str, values: Mapping[str, float]) -> Family:
    family = GaugeMetricFamily(name, CATALOG[name].help, labels=CATALOG[name].labels)
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _counter(name: str, value: float) -> Family:
    return CounterMetricFamily(CATALOG[name].family, CATALOG[name].help, value=value)


def _counters(name: str, values: Mapping[str, float]) -> Family:
    family = CounterMetricFamily(CATALOG[name].family, CATALOG[name].help, labels=CATALOG[name].labels)
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _histogram(name: str, histograms: Iterable[tuple[str, Histogram]]) -> Family:
    family = HistogramMetricFamily(name, CATALOG[name].help, labels=CATALOG[name].labels)
    for label, histogram in histograms:
        family.add_metric([label] if label else [], histogram.cumulative(), histogram.sum)
    return family
