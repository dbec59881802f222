"""The verdict as people read it: a table, what was found, and one line."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.demo.records import What
from examples.demo.verdict import FaultKind, Verdict, percentile

__all__ = ["one_line", "show"]

EXAMPLES_MOST = 3  # of each kind of fault
_ENDED = {What.TOLD_RELEASED: "released", What.TOLD_EXPIRED: "expired", What.TOLD_CANCELLED: "cancelled"}


def show(console: Console, verdict: Verdict) -> None:
    """Print the verdict."""
    title = "Verdict" if verdict.is_whole else "Verdict so far"
    table = Table(title=title, box=box.ROUNDED, show_header=False, title_style="bold", title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    table.add_row(
        "grants", f"{verdict.grants:,}", f"{verdict.conversations} conversations, {verdict.replicas} replicas"
    )
    for kind in FaultKind:
        number = verdict.count(kind)
        table.add_row(kind.value, Text(f"{number:,}", "bold red" if number else "green"), _MEANING[kind])
    for name, share in (("p50", 0.50), ("p99", 0.99), ("max", 1.0)):
        count = f"{len(verdict.handoffs_ms):,} hand-offs, from release to next inside"
        table.add_row(f"hand-off {name}", _ms(verdict, share), count if name == "p50" else "")
    for replica, ends in verdict.left_behind.items():
        how = ", ".join(f"{number} {_ENDED[what]}" for what, number in ends.items())
        table.add_row("killed", replica, f"tickets it left: {how or 'none'}")
    for replica, number in verdict.leases_lost.items():
        table.add_row("lost its lease", replica, f"bodies that its client stopped: {number}")
    console.print(table)
    for kind in FaultKind:
        _show_examples(console, verdict, kind)
    console.print(
        Text(one_line(verdict), "bold green" if verdict.is_well else "bold red"), soft_wrap=not console.is_terminal
    )


_MEANING = {
    FaultKind.OVERLAP: "two inside one conversation at once",
    FaultKind.OUT_OF_TURN: "not in the order of asking",
    FaultKind.TWICE: "one number for two requests",
    FaultKind.LOST: "asked, and never ended",
    FaultKind.REFUSED: "asked, and not served",
}


def one_line(verdict: Verdict) -> str:
    """Say it in one line."""
    counts = ", ".join(f"{verdict.count(kind)} {kind}" for kind in FaultKind if verdict.count(kind))
    if counts:
        return f"NOT WELL: {counts} in {verdict.grants:,} grants"
    if not verdict.grants:
        return "NOT WELL: nothing was granted"
    well = "All is well" if verdict.is_whole else "All was well"
    text = f"{well}: {verdict.grants:,} grants, 0 overlaps, 0 out of turn, 0 lost"
    if verdict.handoffs_ms:
        text += f"; hand-off p50 {_ms(verdict, 0.5)}, p99 {_ms(verdict, 0.99)}"
    return text


def _show_examples(console: Console, verdict: Verdict, kind: FaultKind) -> None:
    faults = [fault for fault in verdict.faults if fault.kind is kind]
    for fault in faults[:EXAMPLES_MOST]:
        console.print(Text(f"  {fault}", "red"), soft_wrap=not console.is_terminal)
    if len(faults) > EXAMPLES_MOST:
        console.print(Text(f"  ... and {len(faults) - EXAMPLES_MOST:,} more {kind}", "dim"))


def _ms(verdict: Verdict, share: float) -> str:
    return f"{percentile(verdict.handoffs_ms, share):.1f} ms" if verdict.handoffs_ms else "-"
