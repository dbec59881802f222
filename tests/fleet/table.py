"""What a run came to, for people."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from harness.history import FaultKind
from tests.fleet.hand_offs import percentile
from tests.fleet.run import Outcome

FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Part:
    """The hand-offs of a part of a run, as the innocent saw them."""

    count: int
    p50_ms: float
    p99_ms: float
    each_s: float

    @classmethod
    def of(cls, took_ms: list[float], seconds: float) -> Self:
        """Sum up the hand-offs of so many seconds."""
        return cls(len(took_ms), percentile(took_ms, 50), percentile(took_ms, 99), len(took_ms) / seconds)

    def __str__(self) -> str:
        return f"{self.count}, {self.each_s:.1f} a second, p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms"


def parts(outcome: Outcome) -> tuple[Part, Part]:
    """Give the hand-offs of the times without hostile messages, and of those with them."""
    calm, hostile = (
        Part.of(
            [ms for at, ms in outcome.hand_offs if any(turn.from_s <= at < turn.until_s for turn in turns)],
            sum(turn.seconds for turn in turns),
        )
        for turns in ([turn for turn in outcome.turns if turn.is_hostile is with_them] for with_them in (False, True))
    )
    return calm, hostile


def compared(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Give the hand-offs with and without hostile messages, and how they compare."""
    calm, hostile = parts(outcome)
    yield "without", str(calm)
    yield "with", str(hostile)
    if calm.count and hostile.count:
        yield "with/without", f"p50 {hostile.p50_ms / calm.p50_ms:.2f}, a second {hostile.each_s / calm.each_s:.2f}"


def rows(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Give the figures, each with its name."""
    verdict, history, toll = outcome.verdict, outcome.history, outcome.toll
    whole_s = outcome.loaded_s + outcome.settled_s
    yield "seed", str(outcome.plan.seed)
    yield "load", f"{outcome.loaded_s:.1f} s, then {outcome.settled_s:.1f} s until all was over and told"
    yield "messages", f"{len(history.published)} published, {len(history.heard)} heard, {verdict.again} of them again"
    yield "requests", f"{verdict.requests}, {verdict.confirmed} confirmed"
    yield "grants", f"{verdict.grants}, {verdict.renewals} renewals; {verdict.grants / whole_s:.0f} grants a second"
    yield "ends", ", ".join(f"{count} {how}" for how, count in sorted(verdict.ends.items()))
    yield "refused", ", ".join(f"{count} {reason}" for reason, count in sorted(verdict.refused.items()))
    yield "daemons", ", ".join(f"{count} {what}" for what, count in sorted(toll.counts.items()))
    yield "hand-overs", str(outcome.hand_overs)
    yield "hand-offs", str(Part.of([ms for _, ms in outcome.hand_offs], whole_s))
    yield "hostile", f"{outcome.hostile.total()} messages of {len(outcome.hostile)} kinds"
    if outcome.plan.hostile_turn_s is not None:
        yield from compared(outcome)
    yield "faults", ", ".join(f"{verdict.count(kind)} {kind}" for kind in FaultKind)
    yield "surprises", str(len(toll.surprises))


def table(outcome: Outcome) -> str:
    """Write the figures, and what is wrong."""
    lines = [f"{name:<12}  {value}" for name, value in rows(outcome)]
    lines += [str(fault) for fault in outcome.verdict.faults[:FAULTS_SHOWN]]
    lines += outcome.toll.surprises
    return "\n".join(lines)
