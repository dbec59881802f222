"""Plain lines, without anything that takes long to import. Whatever is printed may come from anybody, and is made harmless here."""

import json
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["INVISIBLE", "complain", "counted", "shown", "tell"]

INVISIBLE = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)))
) | frozenset(map(chr, (*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0))))
"""What counts as printable in Python, and is not seen: fillers, joiners, variation selectors but those of emoji."""


def complain(command: str, text: str) -> None:
    """Print what is wrong on standard error, in one line however long it is, with the command's name before it."""
    print(f"lockstore {command}: {shown(' '.join(text.split()))}", file=sys.stderr)  # noqa: T201 - that is its work


def tell(data: Mapping[str, Any]) -> None:
    """Print one JSON object, on one line: for scripts."""
    print(json.dumps(data), flush=True)  # noqa: T201 - as above


def shown(text: str, most: int | None = None) -> str:
    """Give a text as a terminal may have it, and at most so many characters of it: a name of anybody's may hold anything.

    Control characters and all else that does not print, such as a change of direction, are written as Python would.
    """
    safe = "".join(
        char if char.isprintable() and char not in INVISIBLE else char.encode("unicode_escape").decode()
        for char in text
    )
    return safe if most is None or len(safe) <= most else f"{safe[: most - 1]}…"


def counted(number: int, one: str, more: str) -> str:
    """Write a number with what is counted, in the right form."""
    return f"{number:,} {one if number == 1 else more}"
