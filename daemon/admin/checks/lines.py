"""A check of the lines: whether the longest waits are for a live holder."""

from typing import TYPE_CHECKING

from daemon.admin.checks.runner import CheckResult
from daemon.admin.line_reader import open_line_reader
from daemon.cluster.broker_state import read_queues
from daemon.config.settings import Settings
from daemon.views.findings import check_backlog, check_lines
from daemon.views.stale_holders import find_stale_holders
from daemon.views.text import age
from lockstore.errors import ConfigError, StoreUnavailableError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["examine_lines"]

_LINES = 50


async def examine_lines(connection: "AbstractConnection", settings: Settings) -> CheckResult:
    """Check the longest lines, their holders, and overdue tickets."""
    try:
        async with open_line_reader(settings, None) as source:
            lines = await source.lines(0, _LINES)
            backlog = await source.backlog()
            stale = await find_stale_holders(source, lambda queues: read_queues(connection, queues), [lines])
    except (ConfigError, StoreUnavailableError) as error:
        if settings.store_type == "in_memory":
            return CheckResult("skip", f"they are in a daemon's memory: {error}")
        raise
    longest = f", the longest wait {age(lines.waiting_longest_ms)}" if lines.waiting_total else ""
    well = f"lines: {lines.lines_total:,}; tickets that wait: {lines.waiting_total:,}{longest}"
    return CheckResult.of([*stale, *check_lines(lines), *check_backlog(backlog)], well)
