"""Progress of long work: on standard error while it moves, only where a terminal is there to see it, and gone at the end."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

__all__ = ["bar", "line"]


def bar(unit: str) -> Progress:
    """Make a bar that counts; `add_task` with what is done, and with the total as soon as it is known."""
    return _made(BarColumn(), MofNCompleteColumn(), TextColumn(unit))


def line() -> Progress:
    """Make a line of text that changes; `add_task`, and update its description."""
    return _made()


def _made(*columns: BarColumn | MofNCompleteColumn | TextColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
