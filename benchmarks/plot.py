"""Draws what `benchmarks.waiters` measured: hand-off latency by the number of waiters, a line for each lock.

`python -m benchmarks.plot FILE.json... --out FILE.png`; where two files have figures of one lock, the later one counts.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.plot_series import LOOKS, Points, read, spaced

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}; run: scripts/setup bench") from None

SIZE_IN = (10.0, 6.2)
DPI = 160
TEXT_PT = 12
LABELS_APART = 1.42  # times, at least, on the axis of milliseconds
LABEL_RIGHT = 1.2  # times where its mark stands
TEXT_COLOUR = "#222222"  # names in the colours of their lines would be hard to read in the light ones
RIGHT_OF_LAST = 1.25  # times the last number of waiters: where names stand, clear of the lines of others


def draw(series: dict[str, Points]) -> Figure:
    """Draw the figure."""
    with mpl.rc_context({"font.size": TEXT_PT, "font.family": "DejaVu Sans", "axes.spines.top": False}):
        figure = Figure(figsize=SIZE_IN, dpi=DPI, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for name, points in series.items():
            _line(axes, name, points)
        _name_lines(axes, series)
        _dress(axes, series)
    return figure


def _line(axes: Any, name: str, points: Points) -> None:
    colour, mark, _ = LOOKS[name]
    ours = name == "lockstore"
    waiters = [point["waiters"] for point in points]
    if ours:
        lower, upper = ([point[share] for point in points] for share in ("p10_ms", "p90_ms"))
        axes.fill_between(waiters, lower, upper, color=colour, alpha=0.10, linewidth=0)
    axes.plot(
        waiters,
        [point["p50_ms"] for point in points],
        color=colour,
        marker=mark,
        markersize=7 if ours else 6,
        markeredgecolor="white",
        markeredgewidth=0.8,
        linewidth=2.8 if ours else 1.8,
        zorder=4 if ours else 3,
    )


def _name_lines(axes: Any, series: dict[str, Points]) -> None:
    """Write each name beside the end of its line, and no two over each other."""
    ends = {name: points[-1] for name, points in series.items()}
    right = max(point["waiters"] for point in ends.values()) * RIGHT_OF_LAST
    heights = spaced({name: point["p50_ms"] for name, point in ends.items()}, LABELS_APART)
    for name, height in heights.items():
        colour, mark, label = LOOKS[name]
        end = ends[name]
        leader = [end["waiters"], right], [end["p50_ms"], height]
        axes.plot(*leader, color=colour, linewidth=0.9, linestyle=":", clip_on=False, zorder=2)
        axes.plot([right], [height], color=colour, marker=mark, markersize=7, clip_on=False, zorder=5)
        weight = "bold" if name == "lockstore" else "normal"
        axes.text(right * LABEL_RIGHT, height, label, color=TEXT_COLOUR, va="center", fontweight=weight, clip_on=False)


def _dress(axes: Any, series: dict[str, Points]) -> None:
    lengths = sorted({point["waiters"] for points in series.values() for point in points})
    axes.set_xlim(lengths[0] * 0.85, lengths[-1] * 1.1)
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.spines["right"].set_visible(False)
    axes.grid(which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("waiters in the line at its beginning; each comes once")
    axes.set_title(
        "Hand-off in ms: from one holder's release to the next one's entry (less is better)", loc="left", pad=20
    )
    axes.text(
        0.0,
        1.005,
        "medians; band: the daemon's from the 10th to the 90th percentile; both axes are logarithmic",
        transform=axes.transAxes,
        fontsize=TEXT_PT - 2,
        color="#555555",
    )


def main() -> None:
    """Read, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="what benchmarks.waiters --json printed")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    options = parser.parse_args()
    figure = draw(read(options.files))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, metadata={"Software": None})


if __name__ == "__main__":
    main()
