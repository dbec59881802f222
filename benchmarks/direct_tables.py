"""How `benchmarks.direct` tells what it measured: four tables and what to make of them, or one JSON object."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contest_figures import RACE_S, Again, Lines
from benchmarks.direct_figures import PING, PROCESSES, REFERENCE, THREAD_PING, WAITERS, Alone, Idle, Series
from benchmarks.report import Report, median, percentile

__all__ = ["publish"]

_UNIT = "redis-py\n= 1"

Figures = dict[str, Any]

_COMPARED = {  # figures that are also given as ratios to the reference's, named ratio_...
    "alone": ("one_key_per_s", "many_keys_per_s"),
    "line": ("p50_ms", "p99_ms", "served_ms"),
    "again": ("entries_per_s", "handoffs_per_s", "longest_wait_ms"),
    "idle": ("requests_per_s", "commands_per_s", "redis_cpu_ms_per_s"),
}

_ALONE = {  # heading to figure and format
    "one key\n/s": ("one_key_per_s", ",.0f"),
    _UNIT: ("ratio_one_key_per_s", ".2f"),
    "mean\nms": ("mean_ms", ".2f"),
    "PING\n= 1": ("pings", ".1f"),
    "requests\na cycle": ("requests", ".1f"),
    "50 keys, 20\nat once /s": ("many_keys_per_s", ",.0f"),
    f"{_UNIT} ": ("ratio_many_keys_per_s", ".2f"),
}
_LINE = {
    "p50\nms": ("p50_ms", ".2f"),
    "PING\n= 1": ("p50_pings", ".1f"),
    _UNIT: ("ratio_p50_ms", ".2f"),
    "p99\nms": ("p99_ms", ".2f"),
    "all served\nms": ("served_ms", ".0f"),
    f"{_UNIT} ": ("ratio_served_ms", ".2f"),
    "out of\nturn": ("out_of_turn", "d"),
    "overlaps": ("overlaps", "d"),
}
_AGAIN = {
    "entries\n/s": ("entries_per_s", ",.0f"),
    "hand-offs\n/s": ("handoffs_per_s", ",.0f"),
    _UNIT: ("ratio_handoffs_per_s", ".0f"),
    "fewest": ("fewest_entries", "d"),
    "most": ("most_entries", "d"),
    "longest\nwait ms": ("longest_wait_ms", ",.0f"),
    "out of\nturn": ("out_of_turn_share", ".0%"),
    "overlaps": ("overlaps", "d"),
}
_IDLE = {
    "requests": ("requests_per_s", ",.0f"),
    _UNIT: ("ratio_requests_per_s", ".2f"),
    "commands": ("commands_per_s", ",.0f"),
    f"{_UNIT} ": ("ratio_commands_per_s", ".2f"),
    "CPU ms": ("redis_cpu_ms_per_s", ".1f"),
    f"{_UNIT}  ": ("ratio_redis_cpu_ms_per_s", ".2f"),
}

_EXPLANATION = f"""
Compared is what each lock does as it comes, on one Redis of this machine: our stores through `create_store` and `lock()`;
redis-py's asyncio Lock, which asks again every 0.1 s, and the same with sleep=0.01 (with nobody to wait for these two are
one, and their difference is the noise); and python-redis-lock, which waits in BLPOP, with a thread and a connection for
each waiter. A hand-off lasts from just before a holder's release to the next one's entry. Lines show it best, for there
nobody comes back. Where all come back at once, a lock without a line often goes to the one that has just released it:
entries count that, hand-offs do not, and who has bad luck waits as long as the run. An entry is out of turn if somebody
who stood before has to go on waiting: by ticket number, or where there are no tickets by having asked at least
{RACE_S * 1000:g} ms earlier. Overlaps are two inside at once. Commands count those inside of scripts, too. Not compared: a
network, on which each request of a cycle costs more; a process that dies; what only one side has, such as numbers for
fencing here, or renewal there; and the daemon, which `benchmarks.handoff` measures.
"""


def publish(report: Report, options: argparse.Namespace, series: Mapping[str, Series]) -> None:
    """Print what was measured."""
    ping_ms = _mean_ms(series[PING].one_key)
    locks = {lock: _figures(found, ping_ms) for lock, found in series.items()}
    for figures in locks.values():
        _compare(figures, locks[REFERENCE])
    if options.json:
        report.print("", [], [], _everything(options, series, locks))
    _print_tables(report, options, locks)
    report.explain(_EXPLANATION)


def _everything(
    options: argparse.Namespace, series: Mapping[str, Series], locks: Mapping[str, Mapping[str, Figures]]
) -> Figures:
    return {
        "ping_ms": locks[PING]["alone"]["mean_ms"],
        "ping_in_a_thread_ms": locks[THREAD_PING]["alone"]["mean_ms"],
        "locks": {lock: figures for lock, figures in locks.items() if lock not in (PING, THREAD_PING)},
        "waiters": WAITERS,
        "processes": PROCESSES,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "lines": options.lines,
        "raw": {
            lock: {"handoffs_ms": [seconds * 1000 for seconds in found.lines.handoffs_s]}
            for lock, found in series.items()
            if found.lines.handoffs_s
        },
    }


def _figures(found: Series, ping_ms: float) -> dict[str, Figures]:
    mean_ms = _mean_ms(found.one_key)
    figures: dict[str, Figures] = {
        "alone": {
            "one_key_per_s": 1000 / mean_ms,
            "mean_ms": mean_ms,
            "pings": mean_ms / ping_ms,
            "requests": median([one.requests for one in found.one_key]),
            "many_keys_per_s": median([one.per_second for one in found.many_keys]) if found.many_keys else None,
        }
    }
    if found.idle is not None:
        figures["line"] = _line(found.lines, ping_ms)
        figures["again"] = _again(found.again, ping_ms)
        figures["idle"] = _idle(found.idle)
    return figures


def _mean_ms(slices: Sequence[Alone]) -> float:
    # The median of the slices' means. Single trips take one of two very different times, by where the kernel wakes whom;
    # a median of those would jump from the one to the other.
    return 1000 / median([one.per_second for one in slices])


def _line(lines: Lines, ping_ms: float) -> Figures:
    p50_ms, p99_ms = (percentile(lines.handoffs_s, share) * 1000 for share in (0.5, 0.99))
    return {
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "p50_pings": p50_ms / ping_ms,
        "served_ms": median(lines.served_s) * 1000,
        "out_of_turn": lines.out_of_turn,
        "overlaps": lines.overlaps,
        "handoffs": len(lines.handoffs_s),
    }


def _again(runs: Sequence[Again], ping_ms: float) -> Figures:
    handoffs_s = [handoff_s for one in runs for handoff_s in one.handoffs_s]
    p50_ms, p99_ms = (percentile(handoffs_s, share) * 1000 if handoffs_s else None for share in (0.5, 0.99))
    most, fewest = max(one.most for one in runs), min(one.fewest for one in runs)
    return {
        "entries_per_s": median([one.entries_per_s for one in runs]),
        "handoffs_per_s": median([one.handoffs_per_s for one in runs]),
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "p50_pings": None if p50_ms is None else p50_ms / ping_ms,
        "most_entries": most,
        "fewest_entries": fewest,
        "fairness": most / fewest if fewest else None,
        "longest_wait_ms": max(one.longest_wait_s for one in runs) * 1000,
        "out_of_turn_share": median([one.out_of_turn for one in runs]),
        "overlaps": sum(one.overlaps for one in runs),
    }


def _idle(idle: Idle) -> Figures:
    return {
        "requests_per_s": idle.requests,
        "commands_per_s": idle.commands,
        "redis_cpu_ms_per_s": idle.cpu_ms,
    }


def _compare(figures: dict[str, Figures], reference: Mapping[str, Figures]) -> None:
    """Add each figure's ratio to the reference's, or None where that is 0."""
    for part, own in figures.items():
        for name in _COMPARED[part]:
            other = reference[part][name]
            own[f"ratio_{name}"] = own[name] / other if other and own[name] is not None else None


def _print_tables(report: Report, options: argparse.Namespace, locks: Mapping[str, Mapping[str, Figures]]) -> None:
    def table(part: str, title: str, columns: Mapping[str, tuple[str, str]]) -> None:
        rows = [
            [lock, *(_cell(figures[part][name], form) for name, form in columns.values())]
            for lock, figures in locks.items()
            if part in figures
        ]
        report.print(title, ["", *columns], rows, {})

    table("alone", "Nobody to wait for: cycles of acquire and release in one process", _ALONE)
    handoffs = locks[REFERENCE]["line"]["handoffs"]
    waiters = f"{WAITERS} waiters from {PROCESSES} processes"
    table("line", f"Lines of {waiters}, each comes once: {handoffs:,} hand-offs", _LINE)
    table("again", f"{waiters} come again at once, for {options.seconds * 2:g} s", _AGAIN)
    table("idle", f"{waiters} wait and nobody moves: what Redis does in each second", _IDLE)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
