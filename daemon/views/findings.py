"""What is wrong, how bad it is, and what to do: the one set of rules of `check`, `status`, `doctor`, the page and the API. Pure.

Thresholds are in `lockstore.core.statistics`, because the audits of the stores use them, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Literal

from daemon.broker.request_queues import Queue
from daemon.cluster.broker_state import BrokerState
from daemon.cluster.heartbeat import DaemonIdentity, Heartbeat
from daemon.views.lines import ConversationFacts, LineFacts, LinesFacts, holder_of
from daemon.views.text import age
from lockstore.core.statistics import OVERDUE_MS, UNANNOUNCED_MS, Backlog
from lockstore.protocol.naming import partition_of
from lockstore.stores.audit import AuditFinding

__all__ = [
    "Finding",
    "Severity",
    "check_audit_finding",
    "check_backlog",
    "check_broker_state",
    "check_conversation",
    "check_daemon",
    "check_daemons",
    "check_damage",
    "check_dead_letters",
    "check_exchanges",
    "check_holder",
    "check_line",
    "check_lines",
    "check_partition",
    "check_partitions",
    "check_unserved_queues",
    "daemon_subject",
    "distinct",
]

Severity = Literal["error", "warning"]
"""`error`: locks are not served as they should be. `warning`: they are, or none are requested, but an operator should know."""

_EXAMPLES = 3
_SERVE = "start a daemon: lockstore serve"
_LOGS = "read the logs of the daemons, and /readyz of each"
_STATUS = "see which daemons serve: lockstore status"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem. `subject`: a conversation id, `partition 1`, `daemons`, `dead letters`, and the like."""

    subject: str
    severity: Severity
    message: str
    remedy: str


def distinct(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Remove duplicates; errors come first."""
    found = dict.fromkeys(findings)
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


# --- the broker -------------------------------------------------------------------------------------------------------


def check_broker_state(state: BrokerState) -> Iterable[Finding]:
    """Find what is wrong on the broker."""
    yield from check_partitions(state)
    if state.queues:
        yield from check_exchanges(state.missing_exchanges)
    yield from check_daemons(state)
    yield from check_dead_letters(state.dead_letters)


def check_partitions(state: BrokerState) -> Iterable[Finding]:
    """Find request queues that are missing, too many, or without a daemon."""
    there, wanted = state.number, state.partitions
    if not there:
        message = f"the namespace {state.namespace} has none: no daemon has declared them, or they were deleted"
        yield Finding("request queues", "warning", message, _SERVE)
        return
    if there != wanted:
        message = f"there are {there}, and broker.partitions is {wanted} in this file"
        remedy = f"set broker.partitions to {there}, or run: lockstore repartition"
        yield Finding("request queues", "error", message, remedy)
    is_idle = not state.is_served and not any(queue.messages for queue in state.queues.values())
    for number in range(there):
        subject, queue = f"partition {number}", state.queues.get(number)
        if queue is None:
            remedy = "restart a daemon: it declares what is missing"
            yield Finding(subject, "error", "its request queue does not exist", remedy)
        elif not queue.consumers:
            message = f"no daemon serves it; waiting messages: {queue.messages:,}"
            remedy = _LOGS if state.is_served else _SERVE
            yield Finding(subject, "warning" if is_idle else "error", message, remedy)


def check_exchanges(missing: Iterable[str]) -> Iterable[Finding]:
    """Report exchanges that do not exist."""
    for exchange in missing:
        message = f"the exchange {exchange} does not exist: what is published to it is lost"
        remedy = "a daemon that serves declares it again within seconds; if it does not, restart one"
        yield Finding("exchanges", "error", message, remedy)


def check_daemons(state: BrokerState) -> Iterable[Finding]:
    """Find what is wrong with the daemons by their heartbeats, which carry what each has noticed itself."""
    for word in state.daemons:
        subject = daemon_subject(word)
        beyond = sorted(number for number in word.active if number >= state.number)
        if beyond and state.number:
            message = f"it works on partition {beyond[0]}, and there are {state.number}"
            yield Finding(subject, "error", message, "give all daemons the same file, and restart them")
        yield from check_daemon(word, word.reasons, word.notes)
    if state.is_served and not state.daemons:
        message = "a consumer is attached, but no daemon heartbeat was received"
        yield Finding("daemons", "warning", message, "find the consumer: rabbitmqctl list_consumers")


def daemon_subject(daemon: Heartbeat | DaemonIdentity) -> str:
    """Name a daemon as the subject of findings."""
    return f"daemon {daemon.host} ({daemon.pid})"


def check_daemon(daemon: Heartbeat | DaemonIdentity, reasons: Iterable[str], notes: Iterable[str]) -> Iterable[Finding]:
    """Report why a daemon is not ready, and what else it has noticed, as on its /readyz."""
    subject = daemon_subject(daemon)
    for reason in reasons:
        remedy = "find the reason in docs/configuration.md, Reasons, and in the log of this daemon"
        yield Finding(subject, "error", f"not ready: {reason}", remedy)
    for note in notes:
        remedy = "find out who reads these queues, or delete them: docs/configuration.md, Queues that do not confirm"
        yield Finding(subject, "warning", note, remedy)


def check_dead_letters(count: int | None) -> Iterable[Finding]:
    """Report messages that could not be served."""
    if count:
        message = f"messages that could not be understood or served: {count:,}"
        yield Finding(
            "dead letters", "warning", message, "read them from their queue: the header x-error-detail says why"
        )


# --- the lock store ---------------------------------------------------------------------------------------------------


def check_backlog(found: Backlog | None) -> Iterable[Finding]:
    """Report overdue work of the daemons. None: unknown."""
    if found is None:
        return
    if found.outbox_oldest_ms is not None and found.outbox_oldest_ms > UNANNOUNCED_MS:
        message = f"events that are not announced: {found.outbox:,}, the oldest for {age(found.outbox_oldest_ms)}"
        yield Finding("outbox", "error", message, _LOGS)
    if found.overdue_most_ms is not None and found.overdue_most_ms > OVERDUE_MS:
        message = (
            f"tickets whose deadline is past and which no daemon has ended: {found.overdue:,}, "
            f"the first for {age(found.overdue_most_ms)}"
        )
        yield Finding("deadlines", "error", message, "find the lines: lockstore doctor")


def check_audit_finding(found: AuditFinding) -> Finding:
    """Report an audit's finding, with the exact command that repairs it."""
    name = found.conversation_id
    if name is None:
        subject = "outbox" if found.rule == "outbox" else "lock store"
        return Finding(subject, "error", f"{found.rule}: {found.detail}", found.remedy)
    if found.rule == "data":
        return check_damage(name, found.detail)
    return Finding(name, "error", f"{found.rule}: {found.detail}", found.remedy.replace("CONVERSATION", quote(name)))


# --- lines ------------------------------------------------------------------------------------------------------------


def check_lines(lines: LinesFacts) -> Iterable[Finding]:
    """Report problems of a page of lines, and lines that could not be read."""
    for line in lines.lines:
        yield from check_line(line)
    for damaged in lines.unreadable:
        yield check_damage(damaged.conversation_id, damaged.detail)


def check_line(line: LineFacts | ConversationFacts) -> Iterable[Finding]:
    """Report what is wrong with the head of a line."""
    if line.trouble is not None:
        yield Finding(line.conversation_id, "error", line.trouble, _STATUS)


def check_damage(conversation_id: str, detail: str) -> Finding:
    """Report that a line's data is damaged."""
    remedy = "find out what wrote its keys, then repair or delete them; until then its messages become dead letters"
    return Finding(conversation_id, "error", f"its data is damaged: {detail}", remedy)


def check_conversation(line: ConversationFacts, exists: Mapping[str, bool]) -> Iterable[Finding]:
    """Report problems of one line. `exists`: which reply queues of its tickets exist, if known."""
    yield from check_line(line)
    yield from check_holder(line, exists)


def check_holder(line: LineFacts | ConversationFacts, exists: Mapping[str, bool]) -> Iterable[Finding]:
    """Report a holder whose reply queue is gone. `exists`: which reply queues exist, if known."""
    held = holder_of(line)
    if held is None or exists.get(held.reply_to, True):
        return
    yield Finding(
        line.conversation_id,
        "error",
        f"held by ticket {held.ticket_number} of {held.name or 'an unnamed holder'} for {age(held.held_ms)}, whose reply queue "
        f"is gone, so nobody renews it; tickets behind it: {held.behind:,}; its lease ends in {age(held.left_ms)}",
        f"if the holder is dead, give the next one its turn: lockstore release {quote(line.conversation_id)} --force",
    )


def check_partition(conversation_id: str, queues: Mapping[int, Queue], number: int) -> Iterable[Finding]:
    """Report that a line is blocked because no daemon serves its partition. `number`: of partitions."""
    partition, queue = _queue_of(conversation_id, queues, number)
    if queue is None or not queue.consumers:
        waiting = queue.messages if queue else 0
        message = f"no daemon serves its partition, {partition}; waiting messages: {waiting:,}"
        yield Finding(conversation_id, "error", message, _STATUS)


def check_unserved_queues(lines: Iterable[LineFacts], queues: Mapping[int, Queue], number: int) -> Iterable[Finding]:
    """Report the lines in each partition without a daemon. `number`: of partitions."""
    stranded: dict[int, list[str]] = {}
    for line in lines:
        partition, queue = _queue_of(line.conversation_id, queues, number)
        if queue is None or not queue.consumers:
            stranded.setdefault(partition, []).append(line.conversation_id)
    for partition, names in sorted(stranded.items()):
        yield Finding(
            f"partition {partition}",
            "error",
            f"no daemon serves it; lines in it: {len(names):,} ({_few(names)})",
            _STATUS,
        )


def _queue_of(conversation_id: str, queues: Mapping[int, Queue], number: int) -> tuple[int, Queue | None]:
    partition = partition_of(conversation_id, number) if number else 0
    return partition, queues.get(partition)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")
