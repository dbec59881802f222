"""`lockstore status`: daemons, queues, lines, and their problems, at a glance."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.admin.line_reader import LineReader, open_line_reader
from daemon.broker.connection import connect
from daemon.cli import progress
from daemon.cli.exit_codes import OK, PROBLEMS
from daemon.cli.findings_table import show_findings
from daemon.cli.output import counted
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import say, show
from daemon.cluster.broker_state import BrokerState, read_broker_state, read_queues
from daemon.config import settings
from daemon.config.settings import Settings
from daemon.views.findings import Finding, check_backlog, check_broker_state, check_lines, distinct
from daemon.views.lines import LinesFacts
from daemon.views.stale_holders import find_stale_holders
from daemon.views.text import age
from lockstore.core.statistics import Backlog
from lockstore.util.escaping import escape

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["run"]

_LOOKED_AT = 50  # lines read at least, although fewer may be shown
_QUEUES_MOST = 16  # if there are more, only queues with messages or without a daemon are shown


@dataclass(kw_only=True)
class _Report(Report):
    kind: str
    most: int
    """The number of lines to show."""
    broker_state: BrokerState | None = None
    lines: LinesFacts | None = None
    backlog: Backlog | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Whether problems were found."""
        return PROBLEMS if self.findings else super().exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        broker_state = self.broker_state
        return {
            "ok": self.exit_code == OK,
            "lock_store": self.kind,
            "broker": broker_state and broker_state.node,
            "namespace": broker_state and broker_state.namespace,
            "partitions": broker_state and broker_state.partitions,
            "daemons": broker_state and [word.model_dump(exclude={"counts"}) for word in broker_state.daemons],
            "queues": broker_state and {number: asdict(queue) for number, queue in sorted(broker_state.queues.items())},
            "dead_letters": broker_state and broker_state.dead_letters,
            "lines": self.lines and asdict(replace(self.lines, lines=self.lines.lines[: self.most])),
            "backlog": self.backlog and asdict(self.backlog),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def say_end(self) -> None:
        """Print the report."""
        if self.broker_state is not None:
            _show_broker_state(self.broker_state)
        if self.lines is not None:
            _show_lines(self.lines, self.most, self.backlog)
        if self.error is None and not self.interrupted:
            show_findings(self.findings)


def run(config: Path | None, daemon_url: str | None, most: int, *, as_json: bool) -> int:
    """Collect the status, print it, and return the exit code. Raises ConfigError."""
    loaded = settings.load(config)
    report = _Report(kind=loaded.store_type, most=most)
    return carry_out("status", report, _Look(report, loaded).work(daemon_url), as_json=as_json)


class _Look:
    """Reads broker and store concurrently; if one fails, the other is still shown."""

    def __init__(self, report: _Report, loaded: Settings) -> None:
        self._report = report
        self._loaded = loaded
        self._connection: AbstractConnection | None = None
        self._source: LineReader | None = None

    async def work(self, daemon_url: str | None) -> None:
        report = self._report
        async with AsyncExitStack() as stack:
            moving = stack.enter_context(progress.line())
            moving.add_task("listening to daemons, reading lines", total=None)
            try:
                both = await asyncio.gather(
                    self._at_broker(stack), self._at_store(stack, daemon_url), return_exceptions=True
                )
                for found in both:
                    if isinstance(found, BaseException):
                        raise found
            finally:
                report.findings += self._find()
            if self._connection is not None and self._source is not None and report.lines is not None:
                connection = self._connection
                report.findings += await find_stale_holders(
                    self._source, lambda queues: read_queues(connection, queues), [report.lines]
                )
                report.findings = list(distinct(report.findings))

    async def _at_broker(self, stack: AsyncExitStack) -> None:
        broker = self._loaded.broker
        connection = self._connection = await stack.enter_async_context(connect(broker))
        found = await read_broker_state(connection, broker)
        self._report.broker_state = replace(found, node=connection.endpoint.address.place)

    async def _at_store(self, stack: AsyncExitStack, daemon_url: str | None) -> None:
        self._source = await stack.enter_async_context(open_line_reader(self._loaded, daemon_url))
        self._report.lines = await self._source.lines(0, max(self._report.most, _LOOKED_AT))
        self._report.backlog = await self._source.backlog()

    def _find(self) -> list[Finding]:
        report = self._report
        found: list[Finding] = []
        if report.broker_state is not None:
            found += check_broker_state(report.broker_state)
        if report.backlog is not None:
            found += check_backlog(report.backlog)
        if report.lines is not None:
            found += check_lines(report.lines)
        return found


def _show_broker_state(broker_state: BrokerState) -> None:
    said = counted(broker_state.number, "request queue", "request queues")
    say(
        f"Namespace {broker_state.namespace} at {escape(broker_state.node)}: {said}, {counted(broker_state.dead_letters or 0, 'dead letter', 'dead letters')}"
    )
    now = time.time()
    show(
        ("daemon", "pid>", "up>", "partitions with messages", "messages/s>"),
        [
            (
                word.host,
                str(word.pid),
                age(max(0.0, now - word.started_at) * 1000),
                ", ".join(map(str, sorted(word.active))) or "-",
                f"{sum(word.active.values()):,.1f}",
            )
            for word in broker_state.daemons
        ],
    )
    rows = [
        (str(number), f"{queue.messages:,}", "yes" if queue.consumers else "NO")
        for number, queue in sorted(broker_state.queues.items())
        if len(broker_state.queues) <= _QUEUES_MOST or queue.messages or not queue.consumers
    ]
    show(("partition>", "messages>", "served"), rows)


def _show_lines(lines: LinesFacts, most: int, backlog: Backlog | None) -> None:
    said = f"{counted(lines.lines_total, 'line', 'lines')} with {counted(lines.tickets_total, 'ticket', 'tickets')}"
    if lines.waiting_total:
        said += f"; {lines.waiting_total:,} wait, the longest for {age(lines.waiting_longest_ms)}"
        said += "" if lines.waiting_longest_in is None else f" in {escape(lines.waiting_longest_in)}"
    if backlog is not None:
        said += f"; {counted(backlog.outbox, 'event', 'events')} to announce"
    say(said if lines.complete else f"{said}. The store could not look at all lines: there are more")
    show(
        ("conversation", "holder", "ticket>", "held for>", "lease left>", "waiting>", "longest wait>"),
        [
            (
                line.conversation_id,
                line.holder or "-",
                "-" if line.ticket_number is None else str(line.ticket_number),
                age(line.held_ms) if line.state != "ready" else "not granted",
                age(line.lease_left_ms),
                f"{line.waiting:,}",
                age(line.waiting_longest_ms),
            )
            for line in lines.lines[:most]
        ],
    )
