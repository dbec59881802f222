"""Printing for people, on a terminal or into a pipe. Whatever is printed may come from anybody, and is made harmless here."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["complain", "console", "counted", "lines", "say", "show", "shown", "tell"]

_PIPE_WIDTH = 200  # columns, where there is no terminal that has any: a table is not to be cut for a `grep`


@cache
def console() -> Console:
    """Give the console of standard output."""
    unknown = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_PIPE_WIDTH if unknown else None)


def say(text: str) -> None:
    """Print a line of text on standard output, wrapped at words."""
    console().print(Text(text))


def complain(command: str, text: str) -> None:
    """Print what is wrong on standard error, in one line however long it is, with the command's name before it."""
    print(f"lockstore {command}: {shown(' '.join(text.split()))}", file=sys.stderr)  # noqa: T201 - that is its work


def tell(data: Mapping[str, Any]) -> None:
    """Print one JSON object, on one line: for scripts."""
    print(json.dumps(data), flush=True)  # noqa: T201 - as above


def show(titles: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table. A title that ends with `>` is that of a column of numbers, which stand at its right side."""
    table = Table(box=SIMPLE_HEAD)
    for title in titles:
        table.add_column(title.rstrip(">"), justify="right" if title.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row))
    console().print(table)


def lines(texts: Iterable[str], most: int | None = None) -> Text:
    """Make a cell of several lines."""
    return Text("\n".join(shown(text, most) for text in texts))


def shown(text: str, most: int | None = None) -> str:
    """Give a text as a terminal may have it, and at most so many characters of it: a name of anybody's may hold anything.

    Control characters and all else that does not print, such as a change of direction, are written as Python would.
    """
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return safe if most is None or len(safe) <= most else f"{safe[: most - 1]}…"


def counted(number: int, one: str, more: str) -> str:
    """Write a number with what is counted, in the right form."""
    return f"{number:,} {one if number == 1 else more}"
