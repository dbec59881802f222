"""What all sessions of a process share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from daemon.cluster.broker_state import BrokerState
from daemon.cluster.heartbeat import DaemonIdentity
from daemon.cluster.peers import ClusterView
from daemon.config.settings import Settings
from daemon.monitoring.batch_report import Observers
from daemon.monitoring.counters import Counters
from daemon.monitoring.health import DETAIL_MOST, Health
from daemon.monitoring.stalls import STALL_S, StallDetector
from daemon.serving.deadlines import Deadlines
from daemon.serving.dispatcher import Outstanding
from daemon.serving.freeze_detector import FreezeDetector
from daemon.serving.isolation import Isolation
from daemon.serving.retrying_store import RetryingStore
from lockstore.stores.base import LockStore

__all__ = ["ActiveSession", "Runtime", "ServingSession", "create_runtime", "no_failpoint"]

_HEARTBEATS_MOST = 3  # after this many missed heartbeats RabbitMQ has certainly given our partitions to others


class ServingSession(Protocol):
    """What other modules ask of the current session."""

    @property
    def active(self) -> list[int]:
        """The partitions on which this daemon is active."""

    @property
    def waiting(self) -> int:
        """The number of unfinished messages."""

    async def broker_state(self) -> BrokerState:
        """Read what exists on the broker. Raises one of `connection.CONNECTION_ERRORS`."""

    async def read_queues(self, queues: Iterable[str]) -> dict[str, bool]:
        """Return which queues exist. Raises one of `connection.CONNECTION_ERRORS`."""


class HttpConnections(Protocol):
    """Counts of the HTTP server's connections."""

    evicted: int
    expired: int

    def __len__(self) -> int:
        """Return the number of open connections."""


class ActiveSession:
    """The current session, for read-only use; None if there is none."""

    def __init__(self) -> None:
        self.session: ServingSession | None = None

    @property
    def active(self) -> list[int]:
        """The partitions for which RabbitMQ has chosen this daemon, as far as deliveries have shown."""
        return [] if self.session is None else self.session.active

    @property
    def waiting(self) -> int:
        """The number of unfinished messages."""
        return 0 if self.session is None else self.session.waiting


@dataclass(slots=True)
class Runtime:
    """What outlives a connection.

    The settings, the store, the deadlines, the tests' failpoint; this daemon's health, current session and identity; its
    counters, and the heartbeats of all daemons.
    """

    settings: Settings  # replaced when the configuration is read again
    store: RetryingStore
    deadlines: Deadlines
    freeze_detector: FreezeDetector
    failpoint: Callable[[str], None]
    health: Health
    stall_detector: StallDetector
    active_session: ActiveSession
    identity: DaemonIdentity
    peers: ClusterView
    counters: Counters
    observers: Observers
    outstanding: Outstanding
    isolation: Isolation
    http_connections: HttpConnections | None = None  # no HTTP server, or not yet

    def describe_notes(self) -> list[str]:
        """Describe what an operator should know although it does not prevent serving."""
        found = self.outstanding.describe()
        said = [] if found is None else [found[1]]
        return [text[:DETAIL_MOST] for text in [*said, *(note.detail for note in self.health.notes())]]


def no_failpoint(_: str) -> None:
    """Do nothing: no failpoint is armed."""


def create_runtime(settings: Settings, store: LockStore, checkpoint: Callable[[str], None] = no_failpoint) -> Runtime:
    """Create what a process needs. `checkpoint` is called with a name between the steps."""
    # Half the window: a request that ended during our absence is remembered for all of it, starting at its end.
    away_most_s = min(settings.daemon.dedup_window / 2, settings.broker.heartbeat * _HEARTBEATS_MOST)
    freeze_detector = FreezeDetector(away_most_s)
    health, me, counters, isolation = Health(), DaemonIdentity(), Counters(), Isolation()
    return Runtime(
        settings,
        RetryingStore(store, health, counters, freeze_detector.check),
        Deadlines(),
        freeze_detector,
        checkpoint,
        health,
        StallDetector(max(STALL_S, store.patience_s or settings.broker.batch_most)),  # None: a second per message
        ActiveSession(),
        me,
        ClusterView(me),
        counters,
        Observers(counters.served, isolation.served),
        Outstanding(),
        isolation,
    )
