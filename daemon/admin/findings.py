"""What is not as it should be, with what to do about it: at the broker, in the store, in a line. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from shlex import quote

from daemon.admin.broker_state import BrokerState
from daemon.broker.request_queues import Queue
from daemon.views.lines import ConversationFacts, LineFacts, LinesFacts
from daemon.views.text import age
from lockstore.core.statistics import Backlog
from lockstore.protocol.naming import partition_of
from lockstore.stores.audit import AuditFinding

__all__ = [
    "Finding",
    "check_backlog",
    "check_broker_state",
    "check_conversation",
    "check_damage",
    "check_line",
    "check_line_statistics",
    "check_partition",
]

OUTBOX_OLD_MS = 10_000  # an announcement takes milliseconds, and what was left behind is found within some seconds
OVERDUE_MS = 5000  # a deadline is seen to within two seconds

_EXAMPLES = 3
_SERVE = "start a daemon: lockstore serve"
_LOOK = "look at the daemons' logs, and at /readyz of each"


@dataclass(frozen=True, slots=True)
class Finding:
    """Where something is wrong, what it is, and what to do."""

    where: str
    said: str
    remedy: str


def check_broker_state(broker_state: BrokerState) -> Iterable[Finding]:
    """Say what is wrong at the broker."""
    there, wanted = broker_state.number, broker_state.partitions
    if there == 0:
        yield Finding("request queues", "there are none: no daemon has declared them, or they were deleted", _SERVE)
        return
    if there != wanted:
        said = f"there are {there}, and broker.partitions is {wanted} in this file"
        yield Finding("request queues", said, f"set broker.partitions to {there}, or run: lockstore repartition")
    yield from _of_exchanges(broker_state)
    for number in range(there):
        queue = broker_state.queues.get(number)
        if queue is None:
            remedy = "start a daemon anew: it declares what is missing"
            yield Finding(f"partition {number}", "its request queue is missing", remedy)
        elif not queue.consumers:
            yield Finding(
                f"partition {number}",
                f"no daemon serves it; messages that wait there: {queue.messages:,}",
                _LOOK if broker_state.is_served else _SERVE,
            )
    for word in broker_state.daemons:
        if beyond := sorted(number for number in word.active if number >= there):
            said = f"{word.host} (pid {word.pid}) works on partition {beyond[0]}, and there are {there}"
            yield Finding("daemons", said, "give all daemons the same file, and start them anew")
    if broker_state.is_served and not broker_state.daemons:
        yield Finding(
            "daemons", "somebody serves, but no daemon says a word", "look for it: rabbitmqctl list_consumers"
        )
    if broker_state.dead_letters:
        said = f"messages that could not be served: {broker_state.dead_letters:,}"
        yield Finding("dead letters", said, "read them from their queue: the header x-error-detail says why")


def _of_exchanges(broker_state: BrokerState) -> Iterable[Finding]:
    for exchange in broker_state.missing_exchanges:
        said = f"the exchange {exchange} is missing: what is published to it is lost to this namespace"
        yield Finding("exchanges", said, "a daemon that serves declares it again within seconds; else start one anew")


def check_backlog(found: Backlog) -> Iterable[Finding]:
    """Say what the store has had before it for too long."""
    if found.outbox_oldest_ms is not None and found.outbox_oldest_ms > OUTBOX_OLD_MS:
        said = f"events that are not announced: {found.outbox:,}, the oldest since {age(found.outbox_oldest_ms)}"
        yield Finding("outbox", said, _LOOK)
    if found.overdue_most_ms is not None and found.overdue_most_ms > OVERDUE_MS:
        said = f"tickets whose time is over and which nobody has ended: {found.overdue:,}, the first {age(found.overdue_most_ms)} ago"
        yield Finding("deadlines", said, "find the lines with: lockstore doctor")


def check_line(line: LineFacts) -> Iterable[Finding]:
    """Say what a line's summary shows."""
    if line.trouble is not None:
        yield Finding(line.conversation_id, line.trouble, "see whether its partition is served: lockstore status")


def check_partition(conversation_id: str, queues: Mapping[int, Queue], number: int) -> Iterable[Finding]:
    """Say that nothing can happen in a line, because nobody serves its partition. `number`: of partitions."""
    partition = partition_of(conversation_id, number) if number else 0
    queue = queues.get(partition)
    if queue is None or not queue.consumers:
        waiting = queue.messages if queue else 0
        said = f"no daemon serves its partition, {partition}; messages that wait there: {waiting:,}"
        yield Finding(conversation_id, said, "see who serves: lockstore status")


def check_unserved_queues(lines: Iterable[LineFacts], queues: Mapping[int, Queue], number: int) -> Iterable[Finding]:
    """Say for each partition that nobody serves which lines stand in it. `number`: of partitions."""
    stranded: dict[int, list[str]] = {}
    for line in lines:
        partition = partition_of(line.conversation_id, number) if number else 0
        if (queue := queues.get(partition)) is None or not queue.consumers:
            stranded.setdefault(partition, []).append(line.conversation_id)
    for partition, names in sorted(stranded.items()):
        few = ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")
        said = f"no daemon serves it; lines that stand in it: {len(names):,} ({few})"
        yield Finding(f"partition {partition}", said, "see who serves: lockstore status")


def check_line_statistics(lines: LinesFacts) -> Iterable[Finding]:
    """Say that lines are missing among those that were to be shown, though all would have had their place."""
    missing = lines.lines_total - len(lines.lines)
    if lines.start == 0 and lines.lines_total <= lines.most and missing > 0:
        yield Finding(
            "lines", f"{missing:,} of {lines.lines_total:,} could not be read", "find them with: lockstore doctor"
        )


def check_damage(conversation_id: str, detail: str) -> Finding:
    """Say that a line's data is bad."""
    remedy = (
        "find out what wrote its keys, then repair or delete them; its messages are parked as dead letters meanwhile"
    )
    return Finding(conversation_id, f"its data is damaged: {detail}", remedy)


def check_audit_finding(found: AuditFinding) -> Finding:
    """Say what an audit has found, with the command that mends it as it is to be typed."""
    name = found.conversation_id
    remedy = found.remedy if name is None else found.remedy.replace("CONVERSATION", quote(name))
    return Finding("lock store" if name is None else name, f"{found.rule}: {found.detail}", remedy)


def check_conversation(line: ConversationFacts, stands: Mapping[str, bool]) -> Iterable[Finding]:
    """Say what is wrong with one line. `stands`: which reply queues of its tickets are there."""
    if line.trouble is not None:
        yield Finding(line.conversation_id, line.trouble, "see whether its partition is served: lockstore status")
    head = next(iter(line.tickets), None)
    if head is None or head.state != "holds" or head.reply_to is None or stands.get(head.reply_to, True):
        return
    behind = line.tickets_total - 1
    yield Finding(
        line.conversation_id,
        f"held by ticket {head.ticket_number} of {head.holder or 'somebody'} for {age(head.in_state_ms)}, whose reply queue "
        f"is gone, so nobody renews it; tickets behind it: {behind:,}; its lease ends in {age(head.left_ms)}",
        f"if it is dead, give the next one its turn: lockstore release {quote(line.conversation_id)} --force",
    )
