"""A site without servers: lines that the test puts there, shown by the daemon's own pages."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from daemon.cluster.broker_state import BrokerState
from daemon.cluster.heartbeat import DaemonIdentity
from daemon.cluster.peers import ClusterView
from daemon.config.settings import Settings
from daemon.http.app import application
from daemon.http.status_page.reader import KEPT_S, StatusReader
from daemon.http.status_page.routes import routes_of
from daemon.monitoring.health import Health
from lockstore.core.events import Event
from lockstore.core.statistics import Backlog, LineStatistics, Tally
from lockstore.core.ticket import Claim, Sender, Ticket, TicketLock
from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.stores.memory import InMemoryLockStore

NOW_MS = 1_795_459_434_123  # 2026-11-23, in the evening


def line(
    conversation_id: str,
    *holders: str | None,
    held_ms: int = 4000,
    waited_ms: int = 3000,
    lease_ms: int = 60_000,
    number: int = 7,
    reply_to: str | None = "amq.gen-x",
) -> TicketLock:
    """Make a line: the first holder has the lease, the others wait, each a tenth of a second less than the one before."""
    tickets = []
    for place, holder in enumerate(holders):
        granted_at_ms = NOW_MS - held_ms if place == 0 else None
        queued_at_ms = NOW_MS - held_ms if place == 0 else NOW_MS - waited_ms + 100 * (place - 1)
        ends_ms = NOW_MS - held_ms + lease_ms if place == 0 else queued_at_ms + 300_000
        claim = Claim(f"request-{place}", lease_ms, queued_at_ms, granted_at_ms, holder, Sender(reply_to))
        tickets.append(Ticket(number + place, ends_ms / 1000, claim))
    return TicketLock(conversation_id, tickets)


class StagedStore(InMemoryLockStore):
    """Tells of the lines that it was given, at a time that stands still, and counts how often it is asked."""

    def __init__(self, lines: Iterable[TicketLock] = (), history: Iterable[Event] = ()) -> None:
        super().__init__()
        self.lines_by_id = {lock.conversation_id: lock for lock in lines}
        self.events = list(history)
        self.asked: list[str] = []
        self.fault: Exception | None = None
        self.damaged: set[str] = set()
        self.complete = True

    def _note(self, question: str) -> None:
        self.asked.append(question)
        if self.fault is not None:
            raise self.fault

    async def statistics(self, most: int, start: int = 0) -> LineStatistics:
        self._note("survey")
        tally = Tally()
        for lock in self.lines_by_id.values():
            tally.add(lock)
        since_ms, oldest_in = tally.first_wait or (None, None)
        oldest_ms = None if since_ms is None else NOW_MS - since_ms
        waiting, page = tally.tickets - tally.lines, tally.page(most, start)
        return LineStatistics(NOW_MS, tally.lines, tally.tickets, waiting, oldest_ms, page, self.complete, oldest_in)

    async def find(self, text: str, most: int) -> list[str]:
        self._note("find")
        return sorted(name for name in self.lines_by_id if text in name)[:most]

    async def view(self, conversation_id: str) -> tuple[TicketLock | None, int]:
        self._note("view")
        if conversation_id in self.damaged:
            raise ConversationError("not a ticket: number 'x'")
        return self.lines_by_id.get(conversation_id), NOW_MS

    async def history(self, conversation_id: str) -> list[Event]:
        self._note("history")
        return [event for event in self.events if event.conversation_id == conversation_id]


@dataclass
class StagedSystem:
    """Tells of broker and backlog what it was given."""

    backlog: Backlog | None = None
    state: BrokerState | None = None
    queues: dict[str, bool] = field(default_factory=dict)

    async def current_backlog(self) -> Backlog | None:
        return self.backlog

    async def current_broker_state(self) -> BrokerState | None:
        return self.state

    async def read_queues(self, queues: Iterable[str]) -> dict[str, bool]:
        return {queue: self.queues[queue] for queue in queues if queue in self.queues}


@dataclass
class Stage:
    """What a site shows, and the site."""

    store: Any = field(default_factory=StagedStore)  # a StagedStore, or a real one
    health: Health = field(default_factory=Health)
    settings: Settings = field(default_factory=Settings)
    system: StagedSystem = field(default_factory=StagedSystem)
    me: DaemonIdentity = field(
        default_factory=lambda: DaemonIdentity(daemon="me", host="host-1", pid=4711, started_at=time.time() - 90)
    )

    def __post_init__(self) -> None:
        self.fleet = ClusterView(self.me)
        self.health.clear("store_away", "broker_away", "not_consuming")

        self.now = time.monotonic()
        self.viewer = StatusReader(self.settings, self.store, self.fleet, self.health, self.system, lambda: self.now)

    def forget(self) -> None:
        """Let the moment pass for which the site keeps answers."""
        self.now += 2 * KEPT_S

    def application(self) -> web.Application:
        return application("127.0.0.1", routes_of(self.viewer, self.settings.broker.namespace, self.me.host))


AWAY = StoreUnavailableError("Connection refused")
