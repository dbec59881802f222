"""`lockstore doctor`: audits the store line by line and key by key, and the broker queue by queue."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemon.admin.line_reader import LineReader, StoreLineReader, open_line_reader
from daemon.broker.connection import connect
from daemon.cli import progress
from daemon.cli.exit_codes import OK, PROBLEMS
from daemon.cli.findings_table import show_findings
from daemon.cli.output import counted
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import say
from daemon.cluster.broker_state import read_broker_state, read_queues
from daemon.config import settings
from daemon.config.settings import Settings
from daemon.views.findings import (
    Finding,
    check_audit_finding,
    check_backlog,
    check_broker_state,
    check_lines,
    check_unserved_queues,
)
from daemon.views.lines import LinesFacts
from daemon.views.stale_holders import find_stale_holders
from lockstore.core.statistics import DEEPEST
from lockstore.stores.audit import AuditFinding, Progress
from lockstore.stores.base import LockStore

__all__ = ["run"]

_PAGE = 200  # lines read together
_FINDINGS_MOST = 1000  # findings kept and shown; further ones are counted
_IN_MEMORY = (
    "lines and keys were not audited: the tickets are in a daemon's memory, which only the daemon can read; "
    "with a Redis store, or one of your own, they can be"
)
_UNLISTED = "this store cannot list its lines, so none was audited that this process has not seen; docs/custom-stores.md says how it can"


@dataclass(kw_only=True)
class _Report(Report):
    lines: int = 0
    keys: int = 0
    findings: list[Finding] = field(default_factory=list)
    untold: int = 0
    """Findings beyond those that are kept."""
    passed_over: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Whether problems were found."""
        return PROBLEMS if self.findings else super().exit_code

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        if finding in self.findings:
            return
        if len(self.findings) < _FINDINGS_MOST:
            self.findings.append(finding)
        else:
            self.untold += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        return {
            "ok": self.exit_code == OK,
            "lines": self.lines,
            "keys": self.keys,
            "findings": [asdict(finding) for finding in self.findings],
            "untold": self.untold,
            "passed_over": self.passed_over,
        }

    def say_end(self) -> None:
        """Print the report."""
        say(f"Looked at {counted(self.lines, 'line', 'lines')} and {counted(self.keys, 'key', 'keys')}.")
        for text in self.passed_over:
            say(f"Note: {text}.")
        if self.findings or (self.error is None and not self.interrupted):
            show_findings(self.findings)
        if self.untold:
            say(f"And {self.untold:,} more things of these kinds.")
        if self.interrupted:
            say("Interrupted; what was not looked at may hold more.")


def run(config: Path | None, daemon_url: str | None, *, as_json: bool) -> int:
    """Run the audit, print the report, and return the exit code. Raises ConfigError."""
    report = _Report()
    return carry_out("doctor", report, _work(report, settings.load(config), daemon_url), as_json=as_json)


async def _work(report: _Report, loaded: Settings, daemon_url: str | None) -> None:
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect(loaded.broker))
        with progress.line() as moving:
            moving.add_task("listening to daemons", total=None)
            broker_state = await read_broker_state(connection, loaded.broker)
        _note_all(report, check_broker_state(broker_state))
        source = await stack.enter_async_context(open_line_reader(loaded, daemon_url))
        if isinstance(source, StoreLineReader):
            await _audit(report, source.store)
            if not source.store.knows_all_lines:
                report.passed_over.append(_UNLISTED)
        else:
            report.passed_over.append(_IN_MEMORY)
        pages = [page async for page in _pages(source)]
        lines = [line for page in pages for line in page.lines]
        _note_all(report, (finding for page in pages for finding in check_lines(page)))
        _note_all(report, check_backlog(await source.backlog()))
        _note_all(report, check_unserved_queues(lines, broker_state.queues, broker_state.number))
        with progress.line() as moving:
            moving.add_task("looking for those who hold while others wait", total=None)
            stale = await find_stale_holders(source, lambda queues: read_queues(connection, queues), pages, DEEPEST)
            _note_all(report, stale)


def _note_all(report: _Report, findings: Iterable[Finding]) -> None:
    for finding in findings:
        report.add(finding)


async def _audit(report: _Report, store: LockStore) -> None:
    with progress.bar("looked at") as moving:
        tasks = {of: moving.add_task(of, total=None, visible=False) for of in ("lines", "keys")}
        async for found in store.audit():
            match found:
                case AuditFinding():
                    report.add(check_audit_finding(found))
                case Progress(of="lines", done=done, total=total):
                    report.lines = done
                    moving.update(tasks["lines"], completed=done, total=total, visible=True)
                case Progress(done=done, total=total):
                    report.keys = done
                    moving.update(tasks["keys"], completed=done, total=total, visible=True)


async def _pages(source: LineReader) -> AsyncIterator[LinesFacts]:
    """Yield pages of lines, longest first, as far as the store lists them."""
    for start in range(0, DEEPEST, _PAGE):
        found = await source.lines(start, _PAGE)
        yield found
        if start + _PAGE >= found.lines_total:
            return
