"""How `benchmarks.peers` tells what it measured.

`python -m benchmarks.peers_tables FILE.json` prints the table of docs/performance.md from what `--json` printed.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contest_figures import RACE_S, Again, Lines
from benchmarks.peers_places import PEERS, PROCESSES
from benchmarks.peers_runs import Outcome
from benchmarks.report import Report, median, percentile

__all__ = ["KEYS", "Found", "publish"]

KEYS = 50  # of the spread work, with a worker on each

_COLUMNS = {  # heading to figure and format
    "hand-offs\n/s": ("handoffs_per_s", ",.0f"),
    "entries\n/s": ("entries_per_s", ",.0f"),
    "p50\nms": ("p50_ms", ".2f"),
    "p99\nms": ("p99_ms", ".2f"),
    "out of\nturn": ("out_of_turn_share", ".1%"),
    "overtaken\nat most": ("most_overtaken", ",d"),
    "longest\nwait ms": ("longest_wait_ms", ",.0f"),
    f"{KEYS} keys\ncycles/s": ("cycles_per_s", ",.0f"),
}

_EXPLANATION = f"""
Each lock with its servers alone on this machine, all settings of servers and clients at their defaults but for where
servers listen; who competes is in {PROCESSES} processes. Hand-offs and entries: all waiters come again at once, for as long
as it is measured; a hand-off is an entry of another one than the last holder. p50 and p99: from just before a holder's
release to the next one's entry, in lines of which each comes once (where all come again, a lock without a line mostly goes
back to who has just released it, and a hand-off happens only when somebody else asks at the right moment). Out of turn: the
share of entries while somebody waited who had asked at least {RACE_S * 1000:g} ms earlier. Overtaken at most: how many
such entries the unluckiest one had to watch in one waiting. {KEYS} keys: a worker on each, with nobody to wait for.
"""


@dataclass(slots=True)
class Found:
    """What was measured of one lock."""

    again: list[Again] = field(default_factory=list)
    overtaken: list[int] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    cycles_per_s: list[float] = field(default_factory=list)

    @property
    def overlaps(self) -> int:
        """How often two were inside at once."""
        return self.lines.overlaps + sum(one.overlaps for one in self.again)

    def figures(self) -> dict[str, Any]:
        """Give what is told of it; rates are the median of the rounds."""
        return {
            "handoffs_per_s": median([one.handoffs_per_s for one in self.again]),
            "entries_per_s": median([one.entries_per_s for one in self.again]),
            "p50_ms": percentile(self.lines.handoffs_s, 0.5) * 1000,
            "p99_ms": percentile(self.lines.handoffs_s, 0.99) * 1000,
            "handoffs": len(self.lines.handoffs_s),
            "out_of_turn_share": median([one.out_of_turn for one in self.again]),
            "most_overtaken": max(self.overtaken),
            "longest_wait_ms": max(one.longest_wait_s for one in self.again) * 1000,
            "fewest_entries": min(one.fewest for one in self.again),
            "most_entries": max(one.most for one in self.again),
            "overlaps": self.overlaps,
            "cycles_per_s": median(self.cycles_per_s),
            "raw": {
                "handoffs_per_s": [one.handoffs_per_s for one in self.again],
                "cycles_per_s": self.cycles_per_s,
                "handoffs_ms": [1000 * handoff_s for handoff_s in self.lines.handoffs_s],
            },
        }


def publish(report: Report, options: argparse.Namespace, outcome: Outcome[Found]) -> None:
    """Print what was measured, and of whom it was not."""
    peers = {name: found.figures() for name, found in outcome.found.items()}
    rows = _rows(peers)
    figures = {
        "peers": peers,
        "left_out": outcome.reasons(),
        "waiters": options.waiters,
        "keys": KEYS,
        "processes": PROCESSES,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    report.print(
        f"{options.waiters} waiters on one key; {KEYS} keys with a worker on each", ["", *_COLUMNS], rows, figures
    )
    for name in peers:
        report.explain(f"{name}: {PEERS[name].what}. {_together(peers[name]['overlaps'])}")
    for name, reason in outcome.reasons().items():
        report.explain(f"{name} is left out: {reason.splitlines()[0]}.")
    report.explain(_EXPLANATION)


def _together(overlaps: int) -> str:
    return f"{overlaps:,} times two were inside at once!" if overlaps else ""


def _rows(peers: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    return [
        [name, *(format(figures[figure], form) for figure, form in _COLUMNS.values())]
        for name, figures in peers.items()
    ]


def markdown(figures: Mapping[str, Any]) -> str:
    """Write the table in Markdown."""
    headings = ["", *(heading.replace("\n/s", "/s").replace("\n", " ") for heading in _COLUMNS)]
    first, *others = (f"| {' | '.join(cells)} |" for cells in [headings, *_rows(figures["peers"])])
    return "\n".join([first, "|---|" + "---:|" * len(_COLUMNS), *others])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the table of docs/performance.md.")
    parser.add_argument("file", type=Path, help="what benchmarks.peers --json printed")
    print(markdown(json.loads(parser.parse_args().file.read_text(encoding="utf-8"))))
