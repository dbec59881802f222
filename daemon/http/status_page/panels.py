"""The plots of the last minutes, with their captions. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.http.status_page.plots import Plot, plot
from daemon.views.daemons import MinutesFacts
from daemon.views.text import number, per_second, whole

__all__ = ["Panel", "panels"]

_NOW_STEPS = 2  # the average of so many steps is shown as "now", because single ones fluctuate

Series = Sequence[float | None]
Say = Callable[[float | None], str]


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with its caption."""

    title: str
    now: str
    top: str
    names: tuple[str, ...]  # of the lines, if there are several
    drawn: Plot
    label: str  # for screen readers


def panels(minutes: MinutesFacts) -> list[Panel]:
    """Return the plots in the order of display."""
    return [
        _panel("Requests", per_second, minutes.requests_per_s),
        _panel("Grants", per_second, minutes.grants_per_s),
        _panel("Releases", per_second, minutes.releases_per_s),
        _panel("Expiries", per_second, minutes.expiries_per_s),
        _hand_off(minutes),
        _panel("Waiting", _tickets, minutes.waiting_tickets),
    ]


def _tickets(value: float | None) -> str:
    return whole(None if value is None else round(value))


def _ms(value: float | None) -> str:
    return number(value) if value is None else f"{number(value)} ms"


def _edge(drawn: Plot) -> str:
    """Format the upper edge of the scale, a round number."""
    return whole(round(drawn.top)) if drawn.top.is_integer() else f"{drawn.top:g}"


def _panel(title: str, say: Say, values: Series) -> Panel:
    drawn, now = plot(values), _now(values)
    most = max((value for value in values if value is not None), default=None)
    label = f"{title} over the last minutes: now {say(now)}, at most {say(most)}"
    return Panel(title, say(now), _edge(drawn), (), drawn, label)


def _hand_off(minutes: MinutesFacts) -> Panel:
    half, nearly_all = minutes.hand_off_p50_ms, minutes.hand_off_p99_ms
    drawn = plot(nearly_all, half)
    label = f"Hand-off over the last minutes: now half of them within {_ms(_now(half))}, 99 % within {_ms(_now(nearly_all))}"
    now = f"{number(_now(half))} · {_ms(_now(nearly_all))}"
    return Panel("Hand-off p50 · p99", now, f"{_edge(drawn)} ms", ("p99", "p50"), drawn, label)


def _now(values: Series) -> float | None:
    known = [value for value in values[-_NOW_STEPS:] if value is not None]
    return sum(known) / len(known) if known else None
