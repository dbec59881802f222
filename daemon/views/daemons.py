"""Facts about the whole installation for display: readiness, totals, daemons, and the last minutes. Pure values."""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.cluster.peers import PeerDaemon
from daemon.monitoring.timeline import LAG_S, Step
from daemon.views.findings import Finding
from lockstore.core.statistics import Backlog

__all__ = [
    "STEP_S",
    "DaemonFacts",
    "MinutesFacts",
    "ReasonFacts",
    "StatusFacts",
    "Totals",
    "daemon_facts",
    "minutes_facts",
]

STEP_S = 5
"""Seconds of the timeline per point of a plot."""


@dataclass(frozen=True, slots=True)
class ReasonFacts:
    """A condition that keeps the daemon from being ready."""

    reason: str
    for_s: float
    detail: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of all lines."""

    lines: int
    tickets: int
    waiting: int
    waiting_longest_ms: int | None
    waiting_longest_in: str | None  # the conversation with the longest wait, which need not have the longest line


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """A daemon, according to its last heartbeat."""

    host: str
    pid: int
    is_this: bool
    up_s: float
    silent_s: float | None  # None while it sends heartbeats
    messages_per_s: float  # releases and renewals too
    partitions: dict[int, float]  # those it is active on, with the messages per second of each
    stepping_back: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MinutesFacts:
    """The last minutes of all daemons: one value per time step, oldest first; None is unknown."""

    step_s: int
    ended_s_ago: int
    requests_per_s: tuple[float | None, ...]
    grants_per_s: tuple[float | None, ...]
    releases_per_s: tuple[float | None, ...]
    expiries_per_s: tuple[float | None, ...]
    hand_off_p50_ms: tuple[float | None, ...]
    hand_off_p99_ms: tuple[float | None, ...]
    waiting_tickets: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """Everything except the lines."""

    version: str
    namespace: str
    lock_store: str
    ready: bool
    reasons: tuple[ReasonFacts, ...]
    totals: Totals | None  # None while the store does not answer
    partitions: int
    partitions_without_messages: tuple[
        int, ...
    ]  # no daemon has received any from there: RabbitMQ does not report which daemon is on standby
    daemons: tuple[DaemonFacts, ...]
    minutes: MinutesFacts
    dead_letters: int | None  # None: unknown
    backlog: Backlog | None  # likewise
    findings: tuple[Finding, ...]  # what is wrong anywhere


def daemon_facts(members: Sequence[PeerDaemon], now: float, unix_s: float) -> tuple[DaemonFacts, ...]:
    """Return the daemons. `now` is on the clock of the heartbeats, `unix_s` on the wall clock, which theirs may differ from."""
    return tuple(
        DaemonFacts(
            host=member.word.host,
            pid=member.word.pid,
            is_this=member.is_me,
            up_s=round(max(0.0, unix_s - member.word.started_at), 1),
            silent_s=round(now - member.heard_at, 1) if member.is_silent else None,
            messages_per_s=round(sum(member.word.active.values()), 1),
            partitions=dict(sorted(member.word.active.items())),
            stepping_back=tuple(sorted(member.word.stepping_back)),
        )
        for member in members
    )


def minutes_facts(steps: Sequence[Step]) -> MinutesFacts:
    """Return the timeline for display."""
    return MinutesFacts(
        step_s=STEP_S,
        ended_s_ago=LAG_S,
        requests_per_s=tuple(_rounded(step.requests) for step in steps),
        grants_per_s=tuple(_rounded(step.grants) for step in steps),
        releases_per_s=tuple(_rounded(step.releases) for step in steps),
        expiries_per_s=tuple(_rounded(step.expiries) for step in steps),
        hand_off_p50_ms=tuple(_rounded(step.hand_off_p50_ms) for step in steps),
        hand_off_p99_ms=tuple(_rounded(step.hand_off_p99_ms) for step in steps),
        waiting_tickets=tuple(step.waiting for step in steps),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
