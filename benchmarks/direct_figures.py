"""The locks that `benchmarks.direct` compares, and what its stays amount to. No clock and no server is asked here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from benchmarks.contest import Stay
from benchmarks.contest_figures import Again, Lines

__all__ = [
    "OURS",
    "PEERS",
    "PING",
    "PROCESSES",
    "REFERENCE",
    "THREAD_PING",
    "WAITERS",
    "Alone",
    "Idle",
    "Series",
]

PROCESSES = 4
WAITERS = 20  # in all processes together

PING = "PING"  # no lock: one round trip, the unit of all latencies
THREAD_PING = "PING in a thread"
OURS = ("concurrent_redis", "redis", "in_memory")
REFERENCE = "redis-py"
PEERS = (REFERENCE, "redis-py, 10 ms", "python-redis-lock")


@dataclass(frozen=True, slots=True)
class Alone:
    """Cycles of acquire and release in one process, with nobody to wait for."""

    per_second: float
    requests: float  # to Redis, for each cycle

    @classmethod
    def of(cls, stays: Sequence[Stay], requests: int) -> Self:
        """Take the stays of one run, and the requests that Redis read meanwhile."""
        begun = [stay.asked for stay in stays]
        return cls((len(begun) - 1) / (max(begun) - min(begun)), requests / len(stays))


@dataclass(frozen=True, slots=True)
class Idle:
    """What Redis has to do in each second while all wait."""

    requests: float  # reads from clients' sockets
    commands: float  # those inside of scripts included
    cpu_ms: float

    @classmethod
    def of(cls, before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> Self:
        """Take what Redis' INFO said before and after. The second question is not counted."""

        def grown(name: str) -> float:
            return float(after[name] - before[name])

        return cls(
            requests=(grown("total_reads_processed") - 1) / seconds,
            commands=(grown("total_commands_processed") - 1) / seconds,
            cpu_ms=(grown("used_cpu_user") + grown("used_cpu_sys")) * 1000 / seconds,
        )


@dataclass(slots=True)
class Series:
    """What was measured of one lock."""

    one_key: list[Alone] = field(default_factory=list)
    many_keys: list[Alone] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    again: list[Again] = field(default_factory=list)
    idle: Idle | None = None

    @property
    def overlaps(self) -> int:
        """How often two were inside at once, whatever was measured."""
        return self.lines.overlaps + sum(one.overlaps for one in self.again)
