"""Plain output without slow imports. Everything printed may come from untrusted sources and is escaped."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from lockstore.util.escaping import escape

__all__ = ["counted", "print_error", "print_json"]


def print_error(command: str, text: str) -> None:
    """Print an error on standard error, in one line, prefixed with the command's name."""
    print(f"lockstore {command}: {escape(' '.join(text.split()))}", file=sys.stderr)  # noqa: T201 - standard error is its purpose


def print_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    print(json.dumps(data), flush=True)  # noqa: T201 - as above


def counted(number: int, one: str, more: str) -> str:
    """Format a count with its noun in singular or plural."""
    return f"{number:,} {one if number == 1 else more}"
