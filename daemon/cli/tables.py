"""Text and tables, on a terminal or into a pipe. Everything printed may come from untrusted sources and is escaped."""

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.cli.streams import fitting
from lockstore.util.escaping import escape

__all__ = ["console", "lines", "say", "show"]

_PIPE_WIDTH = 200  # columns, where there is no terminal: tables must not be truncated for `grep`


@cache
def console() -> Console:
    """Return the console of standard output."""
    unknown = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_PIPE_WIDTH if unknown else None)


def say(text: str) -> None:
    """Print a line of text on standard output, wrapped at words."""
    console().print(_fitting(Text(text)))


def show(titles: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table. A title ending with `>` marks a column of numbers, which are right-aligned."""
    table = Table(box=SIMPLE_HEAD)
    for title in titles:
        table.add_column(title.rstrip(">"), justify="right" if title.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_fitting(cell if isinstance(cell, Text) else Text(escape(cell))) for cell in row))
    console().print(table)


def lines(texts: Iterable[str], most: int | None = None) -> Text:
    """Create a cell of several lines."""
    return Text("\n".join(escape(text, most) for text in texts))


def _fitting(text: Text) -> Text:
    """Replace characters that the output cannot represent, before lines are wrapped."""
    text.plain = fitting(text.plain, console().encoding)
    return text
