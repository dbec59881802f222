"""What a run came to, for people."""

from collections.abc import Iterator

from harness.history import FaultKind
from tests.fleet.hand_offs import percentile
from tests.fleet.run import Outcome

FAULTS_SHOWN = 20


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
    took = outcome.hand_off_ms
    yield "hand-offs", f"{len(took)}, p50 {percentile(took, 50):.1f} ms, p99 {percentile(took, 99):.1f} ms"
    yield "hostile", f"{outcome.hostile.total()} messages of {len(outcome.hostile)} kinds"
    yield "faults", ", ".join(f"{verdict.count(kind)} {kind}" for kind in FaultKind)
    yield "surprises", str(len(toll.surprises))


def table(outcome: Outcome) -> str:
    """Write the figures, and what is wrong."""
    lines = [f"{name:<10}  {value}" for name, value in rows(outcome)]
    lines += [str(fault) for fault in outcome.verdict.faults[:FAULTS_SHOWN]]
    lines += outcome.toll.surprises
    return "\n".join(lines)
