"""Plain lines, without anything that takes long to import. Whatever is printed may come from anybody, and is made harmless here."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from lockstore.util.escaping import escape

__all__ = ["counted", "print_error", "print_json"]


def print_error(command: str, text: str) -> None:
    """Print what is wrong on standard error, in one line however long it is, with the command's name before it."""
    print(f"lockstore {command}: {escape(' '.join(text.split()))}", file=sys.stderr)  # noqa: T201 - that is its work


def print_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object, on one line: for scripts."""
    print(json.dumps(data), flush=True)  # noqa: T201 - as above


def counted(number: int, one: str, more: str) -> str:
    """Write a number with what is counted, in the right form."""
    return f"{number:,} {one if number == 1 else more}"
