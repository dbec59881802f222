"""Holding lines against what must be true of them: the values, and what is the same for every store. For `doctor`.

An audit reads; it mends nothing. It looks at one line at one moment, so that a store at work gives no finding.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from lockstore.core.statistics import Pending
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError

__all__ = [
    "LATE_MS",
    "REMEDIES",
    "AuditFinding",
    "Audited",
    "Progress",
    "Rule",
    "ValuesAudit",
    "judge_lateness",
    "judge_line",
]

LATE_MS = 10_000
"""From then on what should have happened is a finding: several times what patrols and announcing take."""

_TOGETHER = 100  # lines that are looked at in one batch

Rule = Literal["data", "holder", "head", "numbers", "request", "deadline", "index", "life", "late", "outbox", "name"]

REMEDIES: Mapping[Rule, str] = {
    "data": "What stands there is nothing that the store wrote. Look at it; when nobody uses the conversation, delete its keys.",
    "holder": "Two may work on one conversation. Take the later ticket out: lockstore release CONVERSATION --force.",
    "head": "Nobody was told that it is his turn. Any message to the conversation mends it; look whether a daemon runs.",
    "numbers": "A fence may be deceived. Look whether keys were deleted, or restored from a backup.",
    "request": "A request that is sent again would get a second ticket. It is over when its ticket ends.",
    "deadline": "A ticket would not end by itself, or a deadline comes up for nothing. Release the ticket; delete the deadline.",
    "index": "It is shown wrongly, or not at all; its work is not touched. The next ticket in this conversation mends it.",
    "life": "Keys would go too early, or never. The next ticket in this conversation mends it.",
    "late": "Nobody sees to deadlines. Look whether a daemon runs that has this store, and what its log says.",
    "outbox": "Nobody announces. Look whether a daemon runs that has this store and reaches RabbitMQ.",
    "name": "The store gives no such name to a key. Look whose it is, or what was renamed; the store passes it over.",
}
"""What to do about a finding, by its rule."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """Something that is not as it must be. Without a conversation it is about all, or about a part of the storage."""

    conversation_id: str | None
    rule: Rule
    detail: str

    @property
    def remedy(self) -> str:
        """Say what to do about it."""
        return REMEDIES[self.rule]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit is: lines first, then all keys. `total` is None where nobody can tell; lines come while one looks."""

    of: Literal["lines", "keys"]
    done: int
    total: int | None


Audited = Progress | AuditFinding


def judge_line(lock: TicketLock, now_ms: int) -> Iterator[AuditFinding]:
    """Hold one line against what is true of every line."""
    name, tickets = lock.conversation_id, lock.tickets
    numbers = [ticket.number for ticket in tickets]
    if any(one >= other for one, other in pairwise(numbers)):
        yield AuditFinding(name, "numbers", f"the numbers in line do not rise: {_few(numbers)}")
    granted = [ticket.number for ticket in tickets if ticket.claim and ticket.claim.granted_at_ms is not None]
    if len(granted) > 1:
        yield AuditFinding(name, "holder", f"tickets {_few(granted)} are granted, and only one may be")
    elif granted and granted != numbers[:1]:
        yield AuditFinding(name, "holder", f"ticket {granted[0]} is granted and not at the head: {numbers[0]} is")
    head = tickets[0] if tickets else None
    if head and head.claim and head.claim.granted_at_ms is None and head.expires_ms > now_ms:
        yield AuditFinding(name, "head", f"ticket {head.number} is at the head and was not granted")
    requests = Counter(ticket.claim.request_id for ticket in tickets if ticket.claim)
    for request_id, count in requests.items():
        if count > 1:
            yield AuditFinding(name, "request", f"request {request_id!r} has {count} tickets")


def judge_lateness(lock: TicketLock, now_ms: int) -> Iterator[AuditFinding]:
    """Tell what should have happened in a line long ago."""
    pending = Pending.of(lock)
    late = [(at_ms, ticket.number) for at_ms, ticket in zip(pending.deadlines_ms, lock.tickets, strict=True)]
    for at_ms, number in late:
        if now_ms - at_ms > LATE_MS:
            detail = f"ticket {number} should have ended {(now_ms - at_ms) / 1000:.0f} s ago"
            yield AuditFinding(lock.conversation_id, "late", detail)
    if pending.kept_since_ms is not None and now_ms - pending.kept_since_ms > LATE_MS:
        age_s = (now_ms - pending.kept_since_ms) / 1000
        yield AuditFinding(
            lock.conversation_id, "outbox", f"{pending.kept} events are not announced, the first for {age_s:.0f} s"
        )


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown}, ..." if len(numbers) > 10 else shown  # noqa: PLR2004 - as above


class AuditedStore(Protocol):
    """What an audit of values needs of a store."""

    def roster(self) -> AsyncIterator[Sequence[str]]:
        """Go through the conversations in which somebody may stand."""

    def read_all(
        self, conversation_ids: Sequence[str]
    ) -> Awaitable[list[tuple[TicketLock | None, int] | ConversationError]]:
        """Read lines, each with the store's clock in ms; in place of one whose data is bad, the error."""


class ValuesAudit:
    """The audit of a store of values."""

    def __init__(self, store: AuditedStore) -> None:
        self._store = store

    async def run(self) -> AsyncIterator[Audited]:
        """Look at all lines that the store can list."""
        done = 0
        async for names in self._store.roster():
            for place in range(0, len(names), _TOGETHER):
                some = names[place : place + _TOGETHER]
                for name, read in zip(some, await self._store.read_all(some), strict=True):
                    for finding in _judged(name, read):
                        yield finding
                done += len(some)
                yield Progress("lines", done, None)
                await asyncio.sleep(0)  # others have their turn


def _judged(name: str, read: tuple[TicketLock | None, int] | ConversationError) -> Iterator[AuditFinding]:
    if isinstance(read, ConversationError):
        yield AuditFinding(name, "data", str(read))
        return
    lock, now_ms = read
    if lock is not None:
        yield from judge_line(lock, now_ms)
        yield from judge_lateness(lock, now_ms)
