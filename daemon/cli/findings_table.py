"""How troubles are told to people."""

from collections.abc import Sequence

from daemon.admin.findings import Finding
from daemon.cli.output import counted
from daemon.cli.tables import lines, say, show

__all__ = ["show_troubles"]

_WHERE_MAX = 60  # characters


def show_troubles(troubles: Sequence[Finding]) -> None:
    """Show them as a table, or say that there are none."""
    if not troubles:
        say("Nothing is wrong.")
        return
    say(f"{counted(len(troubles), 'thing is', 'things are')} wrong:")
    show(
        ("where", "what, and what to do"),
        [(lines([trouble.where], _WHERE_MAX), lines([trouble.said, f"-> {trouble.remedy}"])) for trouble in troubles],
    )
