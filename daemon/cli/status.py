"""What `lockstore status` does: daemons, queues, lines and what is wrong with them, at one look."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.admin.broker_state import BrokerState, read_broker_state
from daemon.admin.findings import Finding, check_backlog, check_broker_state, check_line, check_line_statistics
from daemon.admin.line_reader import LineReader, open_line_reader
from daemon.admin.stale_holders import find_stale_holders, waited_for
from daemon.broker.connection import connect
from daemon.cli import progress
from daemon.cli.exit_codes import OK, PROBLEMS
from daemon.cli.findings_table import show_troubles
from daemon.cli.output import counted
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import say, show
from daemon.config import settings
from daemon.config.settings import Settings
from daemon.views.lines import LinesFacts
from daemon.views.text import age
from lockstore.core.statistics import Backlog
from lockstore.util.escaping import escape

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["run"]

_LOOKED_AT = 50  # lines, at the least, though fewer may be shown
_QUEUES_MOST = 16  # of more, only those are shown in which something waits, or which nobody serves


@dataclass(kw_only=True)
class _Report(Report):
    kind: str
    most: int
    """Lines to be shown."""
    broker_state: BrokerState | None = None
    lines: LinesFacts | None = None
    examination: Backlog | None = None
    troubles: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Whether something is wrong."""
        return PROBLEMS if self.troubles else super().exit_code

    def as_dict(self) -> dict[str, Any]:
        """Give all of it, for JSON."""
        broker_state = self.broker_state
        return {
            "ok": self.exit_code == OK,
            "lock_store": self.kind,
            "namespace": broker_state and broker_state.namespace,
            "partitions": broker_state and broker_state.partitions,
            "daemons": broker_state and [word.model_dump(exclude={"counts"}) for word in broker_state.daemons],
            "queues": broker_state and {number: asdict(queue) for number, queue in sorted(broker_state.queues.items())},
            "dead_letters": broker_state and broker_state.dead_letters,
            "lines": self.lines and asdict(replace(self.lines, lines=self.lines.lines[: self.most])),
            "examination": self.examination and asdict(self.examination),
            "troubles": [asdict(trouble) for trouble in self.troubles],
        }

    def say_end(self) -> None:
        """Show it."""
        if self.broker_state is not None:
            _show_broker_state(self.broker_state)
        if self.lines is not None:
            _show_lines(self.lines, self.most, self.examination)
        if self.error is None and not self.interrupted:
            show_troubles(self.troubles)


def run(config: Path | None, daemon_url: str | None, most: int, *, as_json: bool) -> int:
    """Look, tell, and give the exit code. Raises ConfigError."""
    loaded = settings.load(config)
    report = _Report(kind=loaded.store_type, most=most)
    return carry_out("status", report, _Look(report, loaded).work(daemon_url), as_json=as_json)


class _Look:
    """Looks at both sides at once; that one does not answer is no reason not to show the other."""

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
                report.troubles += self._troubles()
            if self._connection is not None and self._source is not None and report.lines is not None:
                report.troubles += await find_stale_holders(self._connection, self._source, waited_for(report.lines))

    async def _at_broker(self, stack: AsyncExitStack) -> None:
        broker = self._loaded.broker
        self._connection = await stack.enter_async_context(connect(broker))
        self._report.broker_state = await read_broker_state(self._connection, broker)

    async def _at_store(self, stack: AsyncExitStack, daemon_url: str | None) -> None:
        self._source = await stack.enter_async_context(open_line_reader(self._loaded, daemon_url))
        # Twice: a line that ended between the count and the reading is no line that could not be read.
        for _ in range(2):
            self._report.lines = await self._source.lines(0, max(self._report.most, _LOOKED_AT))
            if not any(check_line_statistics(self._report.lines)):
                break
        self._report.examination = await self._source.examine()

    def _troubles(self) -> list[Finding]:
        report = self._report
        found: list[Finding] = []
        if report.broker_state is not None:
            found += check_broker_state(report.broker_state)
        if report.examination is not None:
            found += check_backlog(report.examination)
        if report.lines is not None:
            found += check_line_statistics(report.lines)
            found += [trouble for line in report.lines.lines for trouble in check_line(line)]
        return found


def _show_broker_state(broker_state: BrokerState) -> None:
    said = counted(broker_state.number, "request queue", "request queues")
    say(
        f"Namespace {broker_state.namespace}: {said}, {counted(broker_state.dead_letters or 0, 'dead letter', 'dead letters')}"
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


def _show_lines(lines: LinesFacts, most: int, examination: Backlog | None) -> None:
    said = f"{counted(lines.lines_total, 'line', 'lines')} with {counted(lines.tickets_total, 'ticket', 'tickets')}"
    if lines.waiting_total:
        said += f"; {lines.waiting_total:,} wait, the longest for {age(lines.waiting_longest_ms)}"
        said += "" if lines.waiting_longest_in is None else f" in {escape(lines.waiting_longest_in)}"
    if examination is not None:
        said += f"; {counted(examination.outbox, 'event', 'events')} to announce"
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
