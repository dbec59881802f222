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
    Metric("lockstore_pipeline_stalled", "gauge", "Whether messages wait here and no step was made for too long."),
    Metric("lockstore_store_failures_total", "counter", "Calls to the lock store that failed and were tried again."),
    Metric("lockstore_broker_reconnects_total", "counter", "Connections to RabbitMQ that were lost or not made."),
    Metric("lockstore_topology_repairs_total", "counter", "Times that this daemon declared again what was removed."),
    # --- what came
    Metric("lockstore_messages_total", "counter", "Messages that were served and acknowledged."),
    Metric("lockstore_requests_total", "counter", "Of these, requests for a ticket."),
    Metric("lockstore_redeliveries_total", "counter", "Of the messages, those that RabbitMQ had delivered before."),
    Metric("lockstore_messages_in_hand", "gauge", "Messages taken from RabbitMQ and not done with."),
    # --- what happened
    Metric("lockstore_queued_total", "counter", "Tickets that had to wait."),
    Metric("lockstore_grants_total", "counter", "Leases granted."),
    Metric("lockstore_renewals_total", "counter", "Leases renewed."),
    Metric("lockstore_releases_total", "counter", "Leases given back, or taken by an operator.", ("reason",)),
    Metric("lockstore_expiries_total", "counter", "Tickets whose lease (held) or wait (waiting) ended.", ("phase",)),
    Metric("lockstore_cancellations_total", "counter", "Tickets that left the line before their turn.", ("reason",)),
    Metric("lockstore_rejections_total", "counter", "Messages that were refused.", ("reason",)),
    Metric("lockstore_dead_letters_total", "counter", "Messages parked by this daemon.", ("reason",)),
    Metric("lockstore_recovered_events_total", "counter", "Events announced for a process that had left them behind."),
    Metric(
        "lockstore_refused_announcements_total", "counter", "Messages that RabbitMQ did not take; they are sent again."
    ),
    Metric(
        "lockstore_events_unconfirmed",
        "gauge",
        "Messages that RabbitMQ has not confirmed within broker.confirm_timeout, and those held back behind them.",
        ("to",),
    ),
    Metric(
        "lockstore_events_given_up_total",
        "counter",
        "Public events beyond daemon.outbox_events that were given up.",
    ),
    Metric(
        "lockstore_answers_given_up_total",
        "counter",
        "Messages acknowledged though RabbitMQ had not confirmed their answer, which no outbox keeps.",
    ),
    Metric(
        "lockstore_events_set_aside_total",
        "counter",
        "Events that cannot be announced or read, and became dead letters.",
    ),
    # --- how long it took
    Metric("lockstore_wait_seconds", "histogram", "Time in line of the tickets that were granted."),
    Metric("lockstore_hold_seconds", "histogram", "Time from grant to release."),
    Metric(
        "lockstore_handoff_seconds",
        "histogram",
        "From taking the message or deadline that ended a lease to RabbitMQ's confirm of the next one's grant.",
    ),
    Metric("lockstore_stage_seconds", "histogram", "Time of a batch in each stage of the pipeline.", ("stage",)),
    Metric("lockstore_batch_messages", "histogram", "Messages in a batch."),
    # --- what stands in the lock store, the same for all daemons on it
    Metric("lockstore_lines", "gauge", "Conversations in which somebody holds or waits."),
    Metric("lockstore_tickets", "gauge", "Tickets in all lines, those of holders included."),
    Metric("lockstore_tickets_waiting", "gauge", "Tickets that wait."),
    Metric(
        "lockstore_oldest_wait_seconds", "gauge", "How long the ticket has waited that waits longest; 0: none waits."
    ),
    Metric("lockstore_survey_complete", "gauge", "Whether the four figures above are of all lines."),
    Metric("lockstore_survey_age_seconds", "gauge", "How old they are."),
    Metric("lockstore_outbox_events", "gauge", "Events that are stored, and not yet announced and let go of."),
    Metric("lockstore_outbox_oldest_seconds", "gauge", "Age of the oldest of them; 0: there is none."),
    Metric("lockstore_overdue_tickets", "gauge", "Tickets whose deadline came, and nobody has ended them."),
    Metric("lockstore_sweep_lag_seconds", "gauge", "For how long that has been so of the worst one; 0: there is none."),
    # --- what is at RabbitMQ
    Metric("lockstore_partitions", "gauge", "Request queues, as configured."),
    Metric("lockstore_partitions_active", "gauge", "Partitions from which this daemon has been given messages."),
    Metric(
        "lockstore_partition_messages", "gauge", "Messages in a request queue that no daemon was given.", ("partition",)
    ),
    Metric("lockstore_partition_consumers", "gauge", "Daemons active on a partition: 1, or 0.", ("partition",)),
    Metric("lockstore_dead_letters_kept", "gauge", "Messages in the queue of dead letters, whoever put them there."),
)

CATALOG = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order in which they are told."""
