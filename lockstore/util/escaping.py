"""Making a text that may come from anybody harmless to look at: on a terminal, in a log, on a page. Pure."""

__all__ = ["INVISIBLE", "escape"]

INVISIBLE = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)))
) | frozenset(map(chr, (*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0))))
"""What counts as printable in Python, and is not seen: fillers, joiners, variation selectors but those of emoji."""


def escape(text: str, most: int | None = None) -> str:
    """Give a text as a terminal may have it, and at most so many characters of it: a name of anybody's may hold anything.

    Control characters and all else that does not print, such as a change of direction, are written as Python would.
    """
    safe = "".join(
        char if char.isprintable() and char not in INVISIBLE else char.encode("unicode_escape").decode()
        for char in text
    )
    return safe if most is None or len(safe) <= most else f"{safe[: most - 1]}…"
