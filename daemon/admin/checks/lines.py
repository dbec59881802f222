"""A step of a check at the lines: whether those that wait longest wait for somebody."""

from typing import TYPE_CHECKING

from daemon.admin.checks.runner import CheckResult, Failure
from daemon.admin.findings import check_backlog, check_line, check_line_statistics
from daemon.admin.line_reader import open_line_reader
from daemon.admin.stale_holders import find_stale_holders, waited_for
from daemon.config.settings import Settings
from daemon.views.text import age
from lockstore.errors import ConfigError, StoreUnavailableError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["check_lines"]

_LINES = 50
_TOLD_MOST = 3


async def check_lines(connection: "AbstractConnection", settings: Settings) -> CheckResult:
    """Look at the longest lines, their holders, and what is overdue."""
    try:
        async with open_line_reader(settings, None) as source:
            lines = await source.lines(0, _LINES)
            examination = await source.examine()
            suspects = await find_stale_holders(connection, source, waited_for(lines))
    except (ConfigError, StoreUnavailableError) as error:
        if settings.store_type == "in_memory":
            return CheckResult("skip", f"they are in a daemon's memory: {error}")
        raise
    troubles = [*suspects, *check_line_statistics(lines), *(check_backlog(examination) if examination else ())]
    troubles += [trouble for line in lines.lines for trouble in check_line(line)]
    if troubles:
        told = "; ".join(f"{trouble.where}: {trouble.said}" for trouble in troubles[:_TOLD_MOST])
        more = f"; and {len(troubles) - _TOLD_MOST} more: lockstore status" if len(troubles) > _TOLD_MOST else ""
        raise Failure(f"{told}{more}", troubles[0].remedy)
    longest = f", the longest wait {age(lines.waiting_longest_ms)}" if lines.waiting_total else ""
    return CheckResult("ok", f"lines: {lines.lines_total:,}; tickets that wait: {lines.waiting_total:,}{longest}")
