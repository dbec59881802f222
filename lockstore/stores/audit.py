"""The audit of lines for `doctor`: rules that hold in every store, and the audit of stores of values.

An audit only reads. It reads each line atomically, so a store in use produces no false findings.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from lockstore.core.statistics import OVERDUE_MS, UNANNOUNCED_MS, Pending
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError

__all__ = [
    "REMEDIES",
    "AuditFinding",
    "Audited",
    "Progress",
    "Rule",
    "ValuesAudit",
    "judge_lateness",
    "judge_line",
]

_TOGETHER = 100  # lines read in one batch

Rule = Literal["data", "holder", "head", "numbers", "request", "deadline", "index", "life", "late", "outbox", "name"]

REMEDIES: Mapping[Rule, str] = {
    "data": "The stored data was not written by this store. Inspect it; once the conversation is unused, delete its keys.",
    "holder": "Two holders may work on one conversation. Remove the later ticket: lockstore release CONVERSATION --force.",
    "head": "The head ticket was never granted. Any message to this conversation repairs it; check that a daemon is running.",
    "numbers": "Fencing tokens may repeat. Check whether keys were deleted, or restored from a backup.",
    "request": "A repeated request would get a second ticket. The problem ends with the ticket.",
    "deadline": "A ticket would never expire, or a deadline has no ticket. Release the ticket, or delete the deadline.",
    "index": "Only the display of this line is wrong or missing. The next ticket in this conversation repairs it.",
    "life": "Keys would expire too early, or never. The next ticket in this conversation repairs them.",
    "late": "Deadlines are not being processed. Check that a daemon with this store is running, and read its log.",
    "outbox": "Events are not being published. Check that a daemon with this store is running and connected to RabbitMQ.",
    "name": "The store never creates a key of this name. Find out which program did, or what was renamed; the store ignores it.",
}
"""The remedy for a finding, by its rule."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """An inconsistency. Without a conversation id it concerns the whole storage, or a part of it."""

    conversation_id: str | None
    rule: Rule
    detail: str

    @property
    def remedy(self) -> str:
        """The remedy to display."""
        return REMEDIES[self.rule]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an audit: lines first, then all keys. `total` is None if unknown; new lines may appear meanwhile."""

    of: Literal["lines", "keys"]
    done: int
    total: int | None


Audited = Progress | AuditFinding


def judge_line(lock: TicketLock, now_ms: int) -> Iterator[AuditFinding]:
    """Check one line against the rules that hold for every line."""
    name, tickets = lock.conversation_id, lock.tickets
    numbers = [ticket.number for ticket in tickets]
    if any(one >= other for one, other in pairwise(numbers)):
        yield AuditFinding(name, "numbers", f"ticket numbers in the line do not increase: {_few(numbers)}")
    granted = [ticket.number for ticket in tickets if ticket.claim and ticket.claim.granted_at_ms is not None]
    if len(granted) > 1:
        yield AuditFinding(name, "holder", f"tickets {_few(granted)} are granted, but only one may be")
    elif granted and granted != numbers[:1]:
        yield AuditFinding(name, "holder", f"ticket {granted[0]} is granted, but ticket {numbers[0]} is at the head")
    head = tickets[0] if tickets else None
    if head and head.claim and head.claim.granted_at_ms is None and head.expires_ms > now_ms:
        yield AuditFinding(name, "head", f"ticket {head.number} is at the head but was not granted")
    requests = Counter(ticket.claim.request_id for ticket in tickets if ticket.claim)
    for request_id, count in requests.items():
        if count > 1:
            yield AuditFinding(name, "request", f"request {request_id!r} has {count} tickets")


def judge_lateness(lock: TicketLock, now_ms: int) -> Iterator[AuditFinding]:
    """Find what should have happened in a line long ago."""
    pending = Pending.of(lock)
    late = [(at_ms, ticket.number) for at_ms, ticket in zip(pending.deadlines_ms, lock.tickets, strict=True)]
    for at_ms, number in late:
        if now_ms - at_ms > OVERDUE_MS:
            detail = f"ticket {number} should have ended {(now_ms - at_ms) / 1000:.0f} s ago"
            yield AuditFinding(lock.conversation_id, "late", detail)
    if pending.kept_since_ms is not None and now_ms - pending.kept_since_ms > UNANNOUNCED_MS:
        age_s = (now_ms - pending.kept_since_ms) / 1000
        yield AuditFinding(
            lock.conversation_id, "outbox", f"{pending.kept} events are unpublished, the oldest for {age_s:.0f} s"
        )


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown}, ..." if len(numbers) > 10 else shown  # noqa: PLR2004 - as above


class AuditedStore(Protocol):
    """The store interface that the audit of values needs."""

    def roster(self) -> AsyncIterator[Sequence[str]]:
        """Iterate over conversations that may have tickets."""

    def read_all(
        self, conversation_ids: Sequence[str]
    ) -> Awaitable[list[tuple[TicketLock | None, int] | ConversationError]]:
        """Return each line with the store's clock in ms; an error takes the place of a line whose data is bad."""


class ValuesAudit:
    """The audit of a store of values."""

    def __init__(self, store: AuditedStore) -> None:
        self._store = store

    async def run(self) -> AsyncIterator[Audited]:
        """Check all lines that the store can list."""
        done = 0
        async for names in self._store.roster():
            for place in range(0, len(names), _TOGETHER):
                some = names[place : place + _TOGETHER]
                for name, read in zip(some, await self._store.read_all(some), strict=True):
                    for finding in _judged(name, read):
                        yield finding
                done += len(some)
                yield Progress("lines", done, None)
                await asyncio.sleep(0)  # let other tasks run


def _judged(name: str, read: tuple[TicketLock | None, int] | ConversationError) -> Iterator[AuditFinding]:
    if isinstance(read, ConversationError):
        yield AuditFinding(name, "data", str(read))
        return
    lock, now_ms = read
    if lock is not None:
        yield from judge_line(lock, now_ms)
        yield from judge_lateness(lock, now_ms)
