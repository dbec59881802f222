"""Prints findings as a table."""

from collections.abc import Sequence

from daemon.cli.output import counted
from daemon.cli.tables import lines, say, show
from daemon.views.findings import Finding

__all__ = ["show_findings"]

_WHERE_MAX = 60  # characters


def show_findings(findings: Sequence[Finding]) -> None:
    """Print a table of the findings, or that there are none."""
    if not findings:
        say("Nothing is wrong.")
        return
    say(f"{counted(len(findings), 'thing is', 'things are')} wrong:")
    show(
        ("where", "what, and what to do"),
        [
            (lines([finding.subject], _WHERE_MAX), lines([finding.message, f"-> {finding.remedy}"]))
            for finding in findings
        ],
    )
