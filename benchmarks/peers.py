"""The same contended and the same spread work on this project and on other locks, each alone on the machine.

`python -m benchmarks.peers [--peers A,B,...] [--waiters N] [--rounds N] [--seconds S] [--json]`
"""

import argparse
from functools import partial

import uvloop

from benchmarks.contest_field import Contests
from benchmarks.contest_figures import Again, most_overtaken
from benchmarks.peers_places import OURS, Peer
from benchmarks.peers_runs import add_peers, all_peers, contests
from benchmarks.peers_tables import KEYS, Found, publish
from benchmarks.report import Report, arguments

LINES = 5  # of waiters, in a round
SLOW_FACTOR = 3  # a slow lock is measured in one round, so much longer
LIMIT_S = 600  # for one lock, at any pace: the others are to be measured, too


async def measure(options: argparse.Namespace, report: Report, peer: Peer) -> Found:
    """Measure one lock, round after round; what a first use costs is not measured."""
    found = Found()
    async with contests(peer, max(options.waiters + 1, KEYS), report) as field:
        await field.spread(peer.lock, KEYS, options.seconds / 10)
        for number in range(1 if peer.slow else options.rounds):
            report.progress(f"{peer.name}: round {number + 1}")
            await _round(options, peer, field, found)
    return found


async def _round(options: argparse.Namespace, peer: Peer, field: Contests, found: Found) -> None:
    seconds = options.seconds * (SLOW_FACTOR if peer.slow else 1)
    stays, window = await field.again(peer.lock, options.waiters, seconds)
    # By when each began to ask, for all: only some have tickets, and a ticket says nothing of how long it took to get it.
    stays = sorted((stay._replace(number=None) for stay in stays), key=lambda stay: stay.entered)
    found.again.append(Again.of(stays, options.waiters, window))
    found.overtaken.append(most_overtaken(stays))
    for _ in range(1 if peer.slow else LINES):
        found.lines.add(await field.line(peer.lock, options.waiters))
    found.cycles_per_s.append(await field.spread(peer.lock, KEYS, options.seconds))


def _add(parser: argparse.ArgumentParser) -> None:
    add_peers(parser)
    parser.add_argument("--waiters", type=int, default=20, help="on one key")
    parser.add_argument("--rounds", type=int, default=3, help="of each lock; a slow one has a single, longer round")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each kind of work in a round")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    report = Report(as_json=options.json)
    outcome = await all_peers(options.peers, LIMIT_S, partial(measure, options, report), report)
    publish(report, options, outcome)
    broken = [name for name in OURS if name in outcome.found and outcome.found[name].overlaps]
    if broken or outcome.failed:
        raise SystemExit(f"two held one lock: {broken or 'no'}; failed: {list(outcome.failed) or 'none'}")


if __name__ == "__main__":
    uvloop.run(run(arguments(__doc__ or "", _add)))
