"""How long a hand-off takes, by how many wait: this project and other locks, each alone on the machine.

A line of so many waiters forms behind a holder; then each has its turn, once. `python -m benchmarks.plot` draws the result.
`python -m benchmarks.waiters [--peers A,B,...] [--seconds S] [--json]`
"""

import argparse
import asyncio
from functools import partial
from typing import Any

import uvloop

from benchmarks.contest import now
from benchmarks.contest_field import Contests
from benchmarks.contest_figures import Lines
from benchmarks.peers_places import PEERS, PROCESSES, Peer
from benchmarks.peers_runs import Outcome, add_peers, all_peers, contests
from benchmarks.report import Report, arguments, percentile

COUNTS = (2, 5, 10, 20, 50, 100, 200)
COUNTS_SLOW = (2, 5, 10, 20)  # a line of 200 is served in minutes
MORE = {  # besides: nobody of these waits in a thread or a connection of its own
    "lockstore": (1000, 10_000),
    "concurrent_redis": (1000,),  # each waiter looks once a second besides: 10,000 would do nothing else
}
SLOW_FACTOR = 5  # so much longer are slow ones measured
LINES_MAX = 40  # of one length
LENGTH_LIMIT_S = 150  # for lines of one length: whoever needs longer is measured at no greater length
LIMIT_S = 600  # for one lock: the others are to be measured, too

Points = list[dict[str, Any]]


def counts(peer: Peer) -> tuple[int, ...]:
    """Give the lengths of line that a lock is measured at."""
    return COUNTS_SLOW if peer.slow else COUNTS + MORE.get(peer.name, ())


async def measure(options: argparse.Namespace, report: Report, peer: Peer) -> Points:
    """Measure one lock at all lengths of line."""
    lengths = counts(peer)
    points: Points = []
    async with contests(peer, max(lengths) + 1, report) as field:
        for waiters in lengths:
            report.progress(f"{peer.name}: {waiters:,} waiters")
            try:
                async with asyncio.timeout(LENGTH_LIMIT_S):
                    lines = await _lines(field, peer, waiters, options.seconds)
            except TimeoutError:
                report.progress(f"a line of {waiters:,} was not served within {LENGTH_LIMIT_S} s")
                break
            points.append(_point(waiters, lines))
    return points


async def _lines(field: Contests, peer: Peer, waiters: int, seconds: float) -> Lines:
    """Let lines form and be served for so long; the first one only connects."""
    lines = Lines()
    if waiters in COUNTS and not peer.slow:
        await field.meet(peer.lock, waiters + 1)
    until = now() + seconds * (SLOW_FACTOR if peer.slow else 1)
    for _ in range(LINES_MAX):
        lines.add(await field.line(peer.lock, waiters))
        if now() >= until:
            break
    return lines


def _point(waiters: int, lines: Lines) -> dict[str, Any]:
    p10, p50, p90, p99 = (percentile(lines.handoffs_s, share) * 1000 for share in (0.1, 0.5, 0.9, 0.99))
    return {
        "waiters": waiters,
        "p10_ms": p10,
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "handoffs": len(lines.handoffs_s),
        "out_of_turn": lines.out_of_turn,
        "overlaps": lines.overlaps,
    }


def _add(parser: argparse.ArgumentParser) -> None:
    add_peers(parser)
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of lines of one length; at least one line is measured"
    )


def publish(report: Report, options: argparse.Namespace, outcome: Outcome[Points]) -> None:
    """Print the medians, and as JSON everything."""
    lengths = sorted({point["waiters"] for points in outcome.found.values() for point in points})
    rows = []
    for name, points in outcome.found.items():
        p50_ms = {point["waiters"]: point["p50_ms"] for point in points}
        rows.append([name, *(f"{p50_ms[length]:.2f}" if length in p50_ms else "" for length in lengths)])
    figures = {
        "waiters": outcome.found,
        "left_out": outcome.reasons(),
        "what": {name: PEERS[name].what for name in outcome.found},
        "processes": PROCESSES,
        "seconds": options.seconds,
    }
    columns = ["", *(f"{length:,}" for length in lengths)]
    report.print("Hand-off in a line of so many waiters, each comes once: p50 in ms", columns, rows, figures)
    for name, reason in outcome.reasons().items():
        report.explain(f"{name} is left out: {reason.splitlines()[0]}.")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    outcome = await all_peers(options.peers, LIMIT_S, partial(measure, options, report), report)
    publish(report, options, outcome)
    if outcome.failed:
        raise SystemExit(f"failed: {', '.join(outcome.failed)}")


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
