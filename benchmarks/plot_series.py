"""What `benchmarks.plot` draws: which locks, with which looks, and where their names stand. Nothing is drawn here."""

import json
from pathlib import Path
from typing import Any

__all__ = ["LOOKS", "Points", "read", "spaced"]

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; the marks tell them apart in grey.
LOOKS = {  # lock to colour, mark, name in the figure
    "lockstore": ("#000000", "o", "lockstore (daemon)"),
    "concurrent_redis": ("#0072B2", "s", "concurrent_redis, direct"),
    "redis-py": ("#D55E00", "^", "redis-py, asks every 0.1 s"),
    "python-redis-lock": ("#E69F00", "v", "python-redis-lock"),
    "rasa-poll": ("#CC79A7", "X", "line polled every second"),
    "postgresql": ("#009E73", "D", "PostgreSQL advisory"),
    "zookeeper": ("#56B4E9", "P", "ZooKeeper, kazoo"),
    "etcd": ("#7F7F7F", "p", "etcd lock service"),
}

Points = list[dict[str, Any]]


def read(files: list[Path]) -> dict[str, Points]:
    """Read the results, in the order in which locks are drawn. Raises SystemExit when a file has none."""
    found: dict[str, Points] = {}
    for file in files:
        figures = json.loads(file.read_text(encoding="utf-8")).get("waiters")
        if not isinstance(figures, dict):
            raise SystemExit(f"{file}: not what benchmarks.waiters --json printed")
        found |= figures
    series = {name: found[name] for name in LOOKS if found.get(name)}
    if not series:
        raise SystemExit("none of the locks was measured in these files")
    return series


def spaced(heights: dict[str, float], apart: float) -> dict[str, float]:
    """Move heights on a logarithmic axis just so far that each is `apart` times the one below it, and keep their order."""
    ordered = sorted(heights, key=lambda name: heights[name])
    groups: list[tuple[list[str], float]] = []  # names that stand close together, and their middle
    for name in ordered:
        groups.append(([name], heights[name]))
        while len(groups) > 1 and _bottom(groups[-1], apart) < _top(groups[-2], apart) * apart:
            (last, _), (before, _) = groups.pop(), groups.pop()
            names = before + last
            middle = 1.0
            for one in names:
                middle *= heights[one] ** (1 / len(names))
            groups.append((names, middle))
    return {
        name: middle * apart ** (place - (len(names) - 1) / 2)
        for names, middle in groups
        for place, name in enumerate(names)
    }


def _bottom(group: tuple[list[str], float], apart: float) -> float:
    names, middle = group
    return float(middle / apart ** ((len(names) - 1) / 2))


def _top(group: tuple[list[str], float], apart: float) -> float:
    names, middle = group
    return float(middle * apart ** ((len(names) - 1) / 2))
