"""What every benchmark prints: a table for people, or with `--json` one object on standard output and nothing else.

With `--json` the table goes to standard error, where progress is told too.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "arguments", "median", "percentile"]

_TEXT_COLUMNS = 100
_TABLE_COLUMNS = 116  # at least: a heading that is cut off says little, and a terminal wraps what is too wide


def arguments(description: str, add: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """Read the command line; `--json` is everywhere."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
    add(parser)
    return parser.parse_args()


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which this share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Report:
    """Progress goes to standard error; figures to standard output, once, at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True)
        self._tables = Console(stderr=as_json, width=max(_TABLE_COLUMNS, Console().width))

    def progress(self, text: str) -> None:
        """Say what is being done."""
        self._console.print(text, style="dim", highlight=False)

    def print(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], figures: dict[str, Any]) -> None:
        """Print the table, or the figures as JSON and the table beside them. What is empty is not printed."""
        if self._as_json and figures:
            sys.stdout.write(json.dumps(figures) + "\n")
        if not rows:
            return
        table = Table(title=title, title_justify="left")
        for place, column in enumerate(columns):
            table.add_column(column, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        self._tables.print(table)

    def explain(self, text: str) -> None:
        """Print a paragraph below the tables."""
        self._tables.print(" ".join(text.split()), width=_TEXT_COLUMNS, markup=False, highlight=False)


def median(values: Sequence[float]) -> float:
    """Give the median."""
    return statistics.median(values)
