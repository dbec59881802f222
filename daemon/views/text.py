"""Formats times, numbers and texts for display. Pure; results are plain text, which templates escape."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from shlex import quote
from typing import Any

from lockstore.util.escaping import INVISIBLE

__all__ = [
    "age",
    "clock",
    "describe_event",
    "number",
    "per_second",
    "plain",
    "ranges",
    "release_command",
    "span",
    "stamp",
    "whole",
]

_DASH, _MINUS = "\u2013", "\u2212"
_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"
_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_FEW_S = 10  # tenths are shown below
_MANY = 100  # tenths are not shown from here on


def age(ms: float | None) -> str:
    """Format a duration: `0.4 s`, `12 s`, `4 min 10 s`, `2 h 5 min`; None: a dash."""
    if ms is None:
        return _DASH
    sign = _MINUS if ms < 0 else ""
    seconds = abs(ms) / 1000
    if round(seconds, 1) < _FEW_S:
        return f"{sign}{seconds:.1f} s"
    total = round(seconds)
    for size, unit, below, unit_below in _UNITS:
        if total >= size:
            rest = total % size // below
            return f"{sign}{total // size} {unit}" + (f" {rest} {unit_below}" if rest else "")
    return f"{sign}{total} s"


def span(seconds: float) -> str:
    """Format a duration, below a second in milliseconds."""
    ms = round(seconds * 1000)
    return f"{ms} ms" if ms < 1000 else age(ms)  # noqa: PLR2004 - one second


def whole(count: int | None) -> str:
    """Format a count with thousands separators; None: a dash."""
    return _DASH if count is None else f"{count:,}".replace(",", "\u202f")


def number(value: float | None) -> str:
    """Format a measured value, with tenths below a hundred; None: a dash."""
    if value is None or value == 0 or round(value, 1) >= _MANY:
        return whole(None if value is None else round(value))
    return f"{value:.1f}"


def per_second(rate: float | None) -> str:
    """Format a rate."""
    return number(rate) if rate is None else f"{number(rate)}/s"


def stamp(ms: float) -> str:
    """Format a time for programs, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(ms: float, now_ms: float) -> str:
    """Format a time in UTC: the time of day in milliseconds, and the date unless it is today."""
    then, now = stamp(ms), stamp(now_ms)
    return then[11:23] if then[:10] == now[:10] else f"{then[:10]} {then[11:23]}"


def ranges(numbers: Sequence[int], one: str = "", several: str = "") -> str:
    """Format increasing numbers as ranges, `0, 2-5` with a dash, after the singular or plural word."""
    runs: list[list[int]] = []
    for item in numbers:
        if runs and runs[-1][-1] == item - 1:
            runs[-1].append(item)
        else:
            runs.append([item])
    text = ", ".join(f"{run[0]}{_DASH}{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"{one if len(numbers) == 1 else several} {text}".strip()


def describe_event(event: Mapping[str, Any]) -> str:
    """Describe an event's details besides its type, from its message as in docs/protocol.md."""
    text = ""
    match event["type"]:
        case "queued":
            text = f"{whole(event['position'])} ahead"
        case "granted":
            text = f"after {span(event['waited'])}, {whole(event['behind'])} behind"
        case "released":
            text = f"held {span(event['held'])}" + (", by force" if event["reason"] == "forced" else "")
        case "expired":
            text = "its lease ended" if event["phase"] == "held" else "its wait ended"
        case "cancelled":
            reasons = {"requester": "by the requester", "unreachable": "its reply queue is gone", "forced": "by force"}
            text = reasons.get(event["reason"], event["reason"])
    return f"{text}, by {event['by']}" if event.get("by") else text


def release_command(conversation_id: str) -> str | None:
    """Return the command that ends a conversation's lease; None if its id cannot be typed as displayed."""
    if plain(conversation_id) != conversation_id:
        return None
    return f"lockstore release --force {'-- ' * conversation_id.startswith('-')}{quote(conversation_id)}"


def plain(text: str | None) -> str:
    """Make invisible characters and direction changes in a user's text visible, by their code points."""
    if text is None:
        return ""
    return "".join(
        sign if (sign.isprintable() and sign not in INVISIBLE) or _joins_emoji(text, place) else f"⟨U+{ord(sign):04X}⟩"
        for place, sign in enumerate(text)
    )


def _joins_emoji(text: str, place: int) -> bool:
    """Return whether a joiner makes one emoji of its neighbours; between other characters it is invisible."""
    before, after = text[max(0, place - 1) : place], text[place + 1 : place + 2]
    return text[place] == _JOINER and (before == _EMOJI_STYLE or _is_picture(before)) and _is_picture(after)


def _is_picture(sign: str) -> bool:
    return bool(sign) and unicodedata.category(sign) in {"So", "Sk"}
