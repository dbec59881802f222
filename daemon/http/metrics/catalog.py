"""Every metric: its name, its type, its labels, and what it means. Names follow Prometheus' conventions; docs/metrics.md has them."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["CATALOG", "Metric"]

Kind = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; the name of a counter ends with `_total`, that of an info with `_info`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The name without what its type adds."""
        return self.name.removesuffix("_total").removesuffix("_info")


_ALL = (
    Metric("lockstore_build_info", "info", "Which version this is, and on which Python.", ("version", "python")),
    # --- is it well
    Metric("lockstore_ready", "gauge", "Whether this daemon serves or stands by, as /readyz says."),
    Metric("lockstore_store_up", "gauge", "Whether the lock store answers."),
    Metric("lockstore_broker_up", "gauge", "Whether there is a connection to RabbitMQ."),
    Metric("lockstore_broker_blocked", "gauge", "Whether RabbitMQ takes no messages for now."),
    Metric("lockstore_topology_missing", "gauge", "Whether an exchange or queue was removed from RabbitMQ."),
    Metric(
        "lockstore_topology_unwatched",
        "gauge",
        "Whether this daemon lacks a right to look for, declare or bind again what is removed.",
    ),
    Metric("lockstore_pipeline_stalled", "gauge", "Whether messages wait here and no step was made for too long."),
    Metric("lockstore_store_failures_total", "counter", "Calls to the lock store that failed and were tried again."),
    Metric("lockstore_broker_reconnects_total", "counter", "Connections to RabbitMQ that were lost or not made."),
    Metric("lockstore_topology_repairs_total", "counter", "Times that this daemon declared again what was removed."),
    Metric("lockstore_log_lines_lost_total", "counter", "Lines of the log that were dropped."),
    Metric("lockstore_http_connections", "gauge", "Open connections of the HTTP server."),
    Metric(
        "lockstore_http_closed_connections_total",
        "counter",
        "HTTP connections that were closed to make room for others, or because they took too long.",
        ("reason",),
    ),
    # --- what came
    Metric("lockstore_messages_total", "counter", "Messages that were served and acknowledged."),
    Metric("lockstore_requests_total", "counter", "Of these, requests for a ticket."),
    Metric("lockstore_redeliveries_total", "counter", "Of the messages, those that RabbitMQ had delivered before."),
    Metric("lockstore_messages_in_hand", "gauge", "Messages received from RabbitMQ and not acknowledged yet."),
    # --- what happened
    Metric("lockstore_queued_total", "counter", "Tickets that had to wait."),
    Metric("lockstore_grants_total", "counter", "Leases granted."),
    Metric("lockstore_renewals_total", "counter", "Leases renewed."),
    Metric("lockstore_releases_total", "counter", "Leases released by their holder or by an operator.", ("reason",)),
    Metric("lockstore_expiries_total", "counter", "Tickets whose lease (held) or wait (waiting) expired.", ("phase",)),
    Metric("lockstore_cancellations_total", "counter", "Tickets that left the line without being served.", ("reason",)),
    Metric("lockstore_rejections_total", "counter", "Messages that were rejected.", ("reason",)),
    Metric("lockstore_dead_letters_total", "counter", "Messages parked by this daemon.", ("reason",)),
    Metric("lockstore_recovered_events_total", "counter", "Events published for a process that had left them behind."),
    Metric(
        "lockstore_refused_announcements_total", "counter", "Messages that RabbitMQ did not accept; they are retried."
    ),
    Metric(
        "lockstore_events_unconfirmed",
        "gauge",
        "Messages not confirmed by RabbitMQ within broker.confirm_timeout, and those queued behind them.",
        ("to",),
    ),
    Metric(
        "lockstore_events_given_up_total",
        "counter",
        "Public events dropped because of daemon.outbox_events.",
    ),
    Metric(
        "lockstore_answers_given_up_total",
        "counter",
        "Messages acknowledged although RabbitMQ had not confirmed their answer, which no outbox keeps.",
    ),
    Metric(
        "lockstore_events_set_aside_total",
        "counter",
        "Events that could not be published or read, and became dead letters.",
    ),
    # --- how long it took
    Metric("lockstore_wait_seconds", "histogram", "Time in line of granted tickets."),
    Metric("lockstore_hold_seconds", "histogram", "Time from grant to release."),
    Metric(
        "lockstore_handoff_seconds",
        "histogram",
        "From receiving the message or deadline that ended a lease to RabbitMQ's confirm of the next grant.",
    ),
    Metric("lockstore_stage_seconds", "histogram", "Time of a batch in each stage of the pipeline.", ("stage",)),
    Metric("lockstore_batch_messages", "histogram", "Messages in a batch."),
    # --- what stands in the lock store, the same for all daemons on it
    Metric("lockstore_lines", "gauge", "Conversations that have a holder or waiters."),
    Metric("lockstore_tickets", "gauge", "Tickets in all lines, including those of holders."),
    Metric("lockstore_tickets_waiting", "gauge", "Tickets that wait."),
    Metric("lockstore_oldest_wait_seconds", "gauge", "Age of the longest wait; 0: none."),
    Metric("lockstore_survey_complete", "gauge", "Whether the four metrics above cover all lines."),
    Metric("lockstore_survey_age_seconds", "gauge", "How old they are."),
    Metric(
        "lockstore_outbox_events", "gauge", "Events that are stored but not yet published and removed from the outbox."
    ),
    Metric("lockstore_outbox_oldest_seconds", "gauge", "Age of the oldest of them; 0: none."),
    Metric("lockstore_overdue_tickets", "gauge", "Tickets whose deadline has passed, but which no daemon has ended."),
    Metric("lockstore_sweep_lag_seconds", "gauge", "For how long the most overdue one has been; 0: none."),
    # --- what is at RabbitMQ
    Metric("lockstore_partitions", "gauge", "Request queues, as configured."),
    Metric("lockstore_partitions_active", "gauge", "Partitions from which this daemon has received messages."),
    Metric(
        "lockstore_partition_messages",
        "gauge",
        "Messages in a request queue that were not delivered to a daemon.",
        ("partition",),
    ),
    Metric("lockstore_partition_consumers", "gauge", "Daemons active on a partition: 1, or 0.", ("partition",)),
    Metric("lockstore_dead_letters_kept", "gauge", "Messages in the dead-letter queue, from all sources."),
)

CATALOG = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of display."""
