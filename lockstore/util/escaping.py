"""Escaping untrusted text for a terminal, a log or a page. Pure."""

__all__ = ["INVISIBLE", "escape"]

INVISIBLE = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)))
) | frozenset(map(chr, (*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0))))
"""Characters that Python considers printable but that are invisible: fillers, joiners, variation selectors except emoji's."""


def escape(text: str, most: int | None = None) -> str:
    """Escape a text for display, shortened to `most` characters.

    Control characters and other non-printing ones, such as direction changes, are written as in Python literals.
    """
    safe = "".join(
        char if char.isprintable() and char not in INVISIBLE else char.encode("unicode_escape").decode()
        for char in text
    )
    return safe if most is None or len(safe) <= most else f"{safe[: most - 1]}…"
