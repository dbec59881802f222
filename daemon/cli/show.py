"""`lockstore show`: one conversation's line with its holder and waiters, and its last events."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon.admin.line_reader import open_line_reader
from daemon.broker import request_queues as layout
from daemon.broker.connection import connect
from daemon.cli.exit_codes import OK, PROBLEMS
from daemon.cli.findings_table import show_findings
from daemon.cli.output import counted
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import console, say, show
from daemon.cli.watch import event_line
from daemon.cluster.broker_state import read_queues
from daemon.config import settings
from daemon.config.settings import Settings
from daemon.views.findings import Finding, check_conversation, check_damage, check_partition
from daemon.views.lines import ConversationFacts, TicketFacts
from daemon.views.text import age
from lockstore.errors import ConversationError
from lockstore.protocol.reading import parse_fields
from lockstore.util.escaping import escape

__all__ = ["run"]


@dataclass(kw_only=True)
class _Report(Report):
    conversation: str
    facts: ConversationFacts | None = None
    stands: dict[str, bool] = field(default_factory=dict)
    """Which reply queues exist."""
    alike: list[str] = field(default_factory=list)
    """Live conversations with this text in their id, if this one has no tickets."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Whether problems were found."""
        return PROBLEMS if self.findings else super().exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        return {
            "ok": self.exit_code == OK,
            "conversation_id": self.conversation,
            "conversation": self.facts and asdict(self.facts),
            "reply_queues": self.stands,
            "alike": self.alike,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def say_end(self) -> None:
        """Print the report."""
        if self.facts is not None:
            _show_line(self.facts, self.stands)
            if self.alike:
                say(f"Others with this in their id: {', '.join(map(escape, self.alike))}")
            _show_history(self.facts)
        if self.findings:
            show_findings(self.findings)


def run(config: Path | None, conversation: str, daemon_url: str | None, *, as_json: bool) -> int:
    """Read the conversation, print it, and return the exit code. Raises ConfigError."""
    report = _Report(conversation=conversation)
    work = _work(report, settings.load(config), daemon_url)
    return carry_out("show", report, work, as_json=as_json)


async def _work(report: _Report, loaded: Settings, daemon_url: str | None) -> None:
    async with open_line_reader(loaded, daemon_url) as source:
        try:
            report.facts = facts = await source.conversation(report.conversation)
        except ConversationError as error:
            report.findings.append(check_damage(report.conversation, str(error)))
            return
        if not facts.tickets:
            report.alike = [found for found in await source.find(report.conversation) if found != report.conversation]
    async with connect(loaded.broker) as connection:
        queues = await layout.declared_queues(connection, loaded.broker.names, loaded.broker.partitions)
        report.stands = await read_queues(connection, filter(None, (ticket.reply_to for ticket in facts.tickets)))
    report.findings += check_conversation(facts, report.stands)
    report.findings += check_partition(report.conversation, queues, layout.number_of(queues))


def _show_line(facts: ConversationFacts, stands: dict[str, bool]) -> None:
    name = f"{escape(facts.conversation_id)} (partition {facts.partition})"
    last = "no ticket is on record" if facts.last_number is None else f"the last number is {facts.last_number}"
    if not facts.tickets:
        say(f"{name}: the line is empty; {last}")
        return
    say(f"{name}: {counted(facts.tickets_total, 'ticket', 'tickets')} in line; {last}")
    show(
        ("ticket>", "state", "who", "for>", "left>", "request", "reply queue"),
        [_row(ticket, stands) for ticket in facts.tickets],
    )
    if (more := facts.tickets_total - len(facts.tickets)) > 0:
        say(f"And {more:,} more behind these.")


def _row(ticket: TicketFacts, stands: dict[str, bool]) -> tuple[str, ...]:
    queue = "-" if ticket.reply_to is None else "there" if stands.get(ticket.reply_to, True) else "GONE"
    who, request = ticket.holder or "-", ticket.request_id or "-"
    return str(ticket.ticket_number), ticket.state, who, age(ticket.in_state_ms), age(ticket.left_ms), request, queue


def _show_history(facts: ConversationFacts) -> None:
    if not facts.history:
        say("Nothing is kept of what happened here before (daemon.history, daemon.history_keep).")
        return
    now = datetime.fromtimestamp(facts.at_ms / 1000).astimezone()
    say(f"What happened last, in {now.tzname()}:")
    for event in facts.history:
        at = datetime.fromtimestamp(event["at"]).astimezone().isoformat(" ", "milliseconds")[:23]
        console().print(event_line(parse_fields(event), at), soft_wrap=True)
