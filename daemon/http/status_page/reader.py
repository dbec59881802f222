"""What is asked for whoever looks: the store, the fleet and the daemon's health become facts. Answers are kept for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol, TypeVar

from daemon.cluster.broker_state import BrokerState
from daemon.cluster.peers import ClusterView
from daemon.config.settings import Settings
from daemon.http.cache import Cache, Pace
from daemon.monitoring.health import Health
from daemon.views.daemons import STEP_S, ReasonFacts, StatusFacts, Totals, daemon_facts, minutes_facts
from daemon.views.findings import (
    Finding,
    check_backlog,
    check_broker_state,
    check_conversation,
    check_daemon,
    check_line,
    check_lines,
    check_partition,
    distinct,
)
from daemon.views.lines import ConversationFacts, LineFacts, LinesFacts, conversation_facts, line_facts, lines_facts
from daemon.views.stale_holders import find_stale_holders
from lockstore.core.statistics import Backlog, LineSummary, summary_of
from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.protocol.naming import partition_of
from lockstore.stores.base import LockStore

__all__ = ["KEPT_S", "LINES_MOST", "PACE", "PAGE_LINES", "FoundFacts", "StatusReader", "SystemReader"]

PAGE_LINES = 50
"""How many lines a page shows."""

LINES_MOST = 200
"""The longest list that is given at once."""

_ANSWER_S = 5.0  # a slower store counts as unreachable on the page
KEPT_S = 1.0
"""How long an answer is kept at least."""

PACE = Pace(least_s=KEPT_S, times=10, most_s=30.0)
"""Looking takes a tenth of the time at the most."""

_KEPT_MOST = 64  # answers
_REPLY_QUEUES_MOST = 20  # of one conversation, that are looked for
_AT_ONCE = 2  # questions to the store; whoever looks must not get in the way of those who work

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundFacts:
    """Lines whose conversation id contains a text."""

    at_ms: int
    text: str
    most: int
    more: bool  # whether there are others
    lines: tuple[LineFacts, ...]


class SystemReader(Protocol):
    """What is known of the system beside the lines. Nothing is raised: what cannot be had is None, or missing."""

    async def current_backlog(self) -> Backlog | None:
        """Return what remains to be announced and ended."""

    async def current_broker_state(self) -> BrokerState | None:
        """Return the broker's state."""

    async def read_queues(self, queues: Iterable[str]) -> Mapping[str, bool]:
        """Return which queues exist."""


class StatusReader:
    """Answers for people and programs that look. Raises StoreUnavailableError where the store is away."""

    def __init__(
        self,
        settings: Settings,
        store: LockStore,
        fleet: ClusterView,
        health: Health,
        system: SystemReader,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: the one that the heartbeats were timed with."""
        self.clock = clock
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._health = health
        self._system = system
        self._version = version("lockstore")
        self._kept: Cache[Any] = Cache(_KEPT_MOST, _AT_ONCE, PACE, clock)
        self._findings: Cache[tuple[Finding, ...]] = Cache(1, 1, PACE, clock)

    async def lines(self, start: int, most: int) -> LinesFacts:
        """Return lines, the longest first, and the totals of all."""

        async def ask() -> LinesFacts:
            survey = await self._asked(lambda: self._store.statistics(most, start))
            self._fleet.record.waiting(survey.waiting, self.clock())
            return lines_facts(survey, start, most)

        found: LinesFacts = await self._kept.get(("lines", start, most), ask)
        return found

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Return one conversation. Raises ConversationError if its data is damaged."""

        async def ask() -> ConversationFacts:
            lock, at_ms = await self._asked(lambda: self._store.view(conversation_id))
            history = await self._asked(lambda: self._store.history(conversation_id))
            partition = partition_of(conversation_id, self._settings.broker.partitions)
            return conversation_facts(conversation_id, lock, at_ms, history, partition)

        found: ConversationFacts = await self._kept.get(("conversation", conversation_id), ask)
        return found

    async def find(self, text: str, most: int) -> FoundFacts:
        """Return lines whose conversation id contains a text."""

        async def ask() -> FoundFacts:
            ids = await self._asked(lambda: self._store.find(text, most + 1))
            lines = await asyncio.gather(*(self._line(conversation_id) for conversation_id in ids[:most]))
            at_ms = max((at_ms for _, at_ms in lines), default=time.time_ns() // 1_000_000)
            shown = tuple(line_facts(line, line_at_ms) for line, line_at_ms in lines)
            return FoundFacts(at_ms, text, most, len(ids) > most, shown)

        found: FoundFacts = await self._kept.get(("find", text, most), ask)
        return found

    async def status(self) -> StatusFacts:
        """Return everything but the lines."""
        now, broker = self.clock(), self._settings.broker
        state, backlog, findings = await asyncio.gather(
            self._system.current_broker_state(), self._system.current_backlog(), self.findings()
        )
        daemons = daemon_facts(self._fleet.members(now), now, time.time())
        served = {partition for daemon in daemons if daemon.silent_s is None for partition in daemon.partitions}
        reasons = tuple(ReasonFacts(name, round(for_s, 1), detail) for name, for_s, detail in self._health.reasons())
        return StatusFacts(
            version=self._version,
            namespace=broker.namespace,
            lock_store=str(self._settings.lock_store.get("type") or "in_memory"),
            ready=not reasons,
            reasons=reasons,
            totals=await self._totals(),
            partitions=broker.partitions,
            partitions_without_messages=tuple(number for number in range(broker.partitions) if number not in served),
            daemons=daemons,
            minutes=minutes_facts(self._fleet.record.steps(STEP_S, now)),
            dead_letters=state.dead_letters if state else None,
            backlog=backlog,
            findings=findings,
        )

    async def findings(self) -> tuple[Finding, ...]:
        """Return all findings, as `lockstore status` does."""
        return await self._findings.get("", self._find)

    async def line_findings(self, lines: Iterable[LineFacts]) -> tuple[Finding, ...]:
        """Return the findings about these lines."""
        shown = list(lines)
        names = {line.conversation_id for line in shown}
        found = [finding for line in shown for finding in check_line(line)]
        return distinct([*found, *(finding for finding in await self.findings() if finding.subject in names)])

    async def lines_findings(self, lines: LinesFacts) -> tuple[Finding, ...]:
        """Return the findings about a page of lines, including unreadable ones."""
        return distinct([*check_lines(lines), *await self.line_findings(lines.lines)])

    async def conversation_findings(self, facts: ConversationFacts) -> tuple[tuple[Finding, ...], dict[str, bool]]:
        """Return the findings about one line, and which reply queues of its first tickets exist, as far as known."""
        queues = dict.fromkeys(ticket.reply_to for ticket in facts.tickets if ticket.reply_to)
        exists = dict(await self._system.read_queues(list(queues)[:_REPLY_QUEUES_MOST]))
        found = list(check_conversation(facts, exists))
        if (state := await self._system.current_broker_state()) is not None:
            found += check_partition(facts.conversation_id, state.queues, state.partitions)
        return distinct(found), exists

    async def _find(self) -> tuple[Finding, ...]:
        state = await self._system.current_broker_state()
        found = list(self.own_findings() if state is None else check_broker_state(state))
        found += check_backlog(await self._system.current_backlog())
        with suppress(StoreUnavailableError):
            lines = await self.lines(0, PAGE_LINES)
            found += check_lines(lines)
            found += await find_stale_holders(self, self._system.read_queues, [lines])
        return distinct(found)

    def own_findings(self) -> tuple[Finding, ...]:
        """Return why this daemon is not ready."""
        return tuple(check_daemon(self._fleet.me, self._health.describe(), ()))

    async def _totals(self) -> Totals | None:
        try:
            lines = await self.lines(0, PAGE_LINES)  # what most who look have asked for already
        except StoreUnavailableError:
            return None
        return Totals(
            lines.lines_total,
            lines.tickets_total,
            lines.waiting_total,
            lines.waiting_longest_ms,
            lines.waiting_longest_in,
        )

    async def _line(self, conversation_id: str) -> tuple[LineSummary, int]:
        try:
            lock, at_ms = await self._asked(lambda: self._store.view(conversation_id))
        except ConversationError:
            return LineSummary(conversation_id, 0, None, None), time.time_ns() // 1_000_000
        return LineSummary(conversation_id, 0, None, None) if lock is None else summary_of(lock), at_ms

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        for reason in self._health.reasons():
            if reason.name == "store_away":  # known already: asking would only take until the time limit
                raise StoreUnavailableError(reason.detail)
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await ask()
        except TimeoutError:
            message = f"the lock store has not answered within {_ANSWER_S:g} seconds"
            raise StoreUnavailableError(message) from None
