"""Small plots as SVG paths. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

__all__ = ["HEIGHT", "WIDTH", "Plot", "plot"]

WIDTH, HEIGHT = 240, 48
"""The coordinate box of a plot; the page stretches it."""

_MARGIN = 1.5  # keeps half a line's width from being clipped

Series = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Plot:
    """What a template draws: paths in the box, the filled one first, and the value at the upper edge."""

    area: str
    paths: tuple[str, ...]
    top: float


def plot(*series: Series) -> Plot:
    """Draw series of equal length on a scale that begins at 0. None is a gap."""
    known = [value for values in series for value in values if value is not None]
    top = _round_up(max(known, default=0.0))
    lines = [_runs(values, top) for values in series]
    area = "".join(_closed(run) for run in lines[0])
    return Plot(area, tuple("".join(map(_open, runs)) for runs in lines), top)


def _round_up(value: float) -> float:
    """Return the next round number, at least 1, so that the scale is stable while values change slightly."""
    if value <= 1:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if value <= step * size)


_Point = tuple[float, float]


def _runs(values: Series, top: float) -> list[list[_Point]]:
    """Return the runs of points between gaps."""
    step = WIDTH / max(1, len(values) - 1)
    high = HEIGHT - 2 * _MARGIN
    runs = []
    for is_known, run in groupby(enumerate(values), key=lambda item: item[1] is not None):
        if is_known:
            runs.append([(place * step, HEIGHT - _MARGIN - (value or 0) / top * high) for place, value in run])
    return runs


def _open(run: list[_Point]) -> str:
    if len(run) == 1:  # a single point would be a line of no length, which is not drawn
        x, y = run[0]
        run = [(max(0, x - 1), y), (min(WIDTH, x + 1), y)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run)


def _closed(run: list[_Point]) -> str:
    return f"{_open(run)}L{run[-1][0]:.1f} {HEIGHT}L{run[0][0]:.1f} {HEIGHT}Z"
