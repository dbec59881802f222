"""What `lockstore doctor` does: audits the store line by line and key by key, and the broker queue by queue."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemon.admin.broker_state import read_broker_state
from daemon.admin.findings import Finding, check_audit_finding, check_broker_state, check_line, check_unserved_queues
from daemon.admin.line_reader import LineReader, StoreLineReader, open_line_reader
from daemon.admin.stale_holders import find_stale_holders, waited_for
from daemon.broker.connection import connect
from daemon.cli import progress
from daemon.cli.exit_codes import OK, PROBLEMS
from daemon.cli.findings_table import show_troubles
from daemon.cli.output import counted
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import say
from daemon.config import settings
from daemon.config.settings import Settings
from daemon.views.lines import LinesFacts
from lockstore.core.statistics import DEEPEST
from lockstore.stores.audit import AuditFinding, Progress
from lockstore.stores.base import LockStore

__all__ = ["run"]

_PAGE = 200  # lines that are asked for together
_TROUBLES_MOST = 1000  # that are kept, and shown; the others are counted
_IN_MEMORY = (
    "lines and keys were not audited: the tickets are in a daemon's memory, which only the daemon can read; "
    "with a Redis store, or one of your own, they can be"
)
_UNLISTED = "this store cannot list its lines, so none was audited that this process has not seen; docs/custom-stores.md says how it can"


@dataclass(kw_only=True)
class _Report(Report):
    lines: int = 0
    keys: int = 0
    troubles: list[Finding] = field(default_factory=list)
    untold: int = 0
    """Troubles beyond those that are kept."""
    passed_over: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Whether something is wrong."""
        return PROBLEMS if self.troubles else super().exit_code

    def add(self, trouble: Finding) -> None:
        """Take note of something that is wrong."""
        if trouble in self.troubles:
            return
        if len(self.troubles) < _TROUBLES_MOST:
            self.troubles.append(trouble)
        else:
            self.untold += 1

    def as_dict(self) -> dict[str, Any]:
        """Give all of it, for JSON."""
        return {
            "ok": self.exit_code == OK,
            "lines": self.lines,
            "keys": self.keys,
            "troubles": [asdict(trouble) for trouble in self.troubles],
            "untold": self.untold,
            "passed_over": self.passed_over,
        }

    def say_end(self) -> None:
        """Show it."""
        say(f"Looked at {counted(self.lines, 'line', 'lines')} and {counted(self.keys, 'key', 'keys')}.")
        for text in self.passed_over:
            say(f"Note: {text}.")
        if self.troubles or (self.error is None and not self.interrupted):
            show_troubles(self.troubles)
        if self.untold:
            say(f"And {self.untold:,} more things of these kinds.")
        if self.interrupted:
            say("Interrupted; what was not looked at may hold more.")


def run(config: Path | None, daemon_url: str | None, *, as_json: bool) -> int:
    """Look, tell, and give the exit code. Raises ConfigError."""
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
        _note_all(report, (trouble for line in lines for trouble in check_line(line)))
        _note_all(report, check_unserved_queues(lines, broker_state.queues, broker_state.number))
        with progress.line() as moving:
            moving.add_task("looking for those who hold while others wait", total=None)
            waited = dict.fromkeys(name for page in pages for name in waited_for(page))
            _note_all(report, await find_stale_holders(connection, source, waited, DEEPEST))


def _note_all(report: _Report, troubles: Iterable[Finding]) -> None:
    for trouble in troubles:
        report.add(trouble)


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
    """Give lines, the longest first, page by page, as far as a survey reaches."""
    for start in range(0, DEEPEST, _PAGE):
        found = await source.lines(start, _PAGE)
        yield found
        if start + _PAGE >= found.lines_total:
            return
