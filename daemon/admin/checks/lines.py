"""A step of a check at the lines: whether those that wait longest wait for somebody."""

from typing import TYPE_CHECKING

from daemon.admin.checks.runner import Failure, Verdict
from daemon.views.text import age
from daemon.config.settings import Settings
from daemon.admin.line_reader import source_of
from daemon.admin.stale_holders import suspects_of, waited_for
from daemon.admin.findings import of_examination, of_line, of_survey
from lockstore.errors import ConfigError, StoreUnavailableError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["check_lines"]

_LINES = 50
_TOLD_MOST = 3


async def check_lines(connection: "AbstractConnection", settings: Settings) -> Verdict:
    """Look at the longest lines, their holders, and what is overdue."""
    try:
        async with source_of(settings, None) as source:
            lines = await source.lines(0, _LINES)
            examination = await source.examine()
            suspects = await suspects_of(connection, source, waited_for(lines))
    except (ConfigError, StoreUnavailableError) as error:
        if settings.store_type == "in_memory":
            return Verdict("skip", f"they are in a daemon's memory: {error}")
        raise
    troubles = [*suspects, *of_survey(lines), *(of_examination(examination) if examination else ())]
    troubles += [trouble for line in lines.lines for trouble in of_line(line)]
    if troubles:
        told = "; ".join(f"{trouble.where}: {trouble.said}" for trouble in troubles[:_TOLD_MOST])
        more = f"; and {len(troubles) - _TOLD_MOST} more: lockstore status" if len(troubles) > _TOLD_MOST else ""
        raise Failure(f"{told}{more}", troubles[0].remedy)
    longest = f", the longest wait {age(lines.waiting_longest_ms)}" if lines.waiting_total else ""
    return Verdict("ok", f"lines: {lines.lines_total:,}; tickets that wait: {lines.waiting_total:,}{longest}")
