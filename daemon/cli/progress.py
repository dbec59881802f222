"""Progress of long operations, on standard error, only on a terminal, and removed at the end."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

__all__ = ["bar", "line"]


def bar(unit: str) -> Progress:
    """Create a progress bar; call `add_task` with the work done so far, and with the total once it is known."""
    return _made(BarColumn(), MofNCompleteColumn(), TextColumn(unit))


def line() -> Progress:
    """Create a line of changing text; call `add_task`, and update its description."""
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
