"""What all sessions of a process share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.serving.dispatcher import Outstanding
from daemon.cluster.peers import Fleet
from daemon.monitoring.health import Health
from daemon.serving.retrying_store import Keeper
from daemon.monitoring.counters import Figures
from daemon.monitoring.batch_report import Observers
from daemon.cluster.heartbeat import Me
from daemon.monitoring.stalls import STALL_S, Pulse
from daemon.config.settings import Settings
from daemon.serving.deadlines import Timers
from daemon.serving.freeze_detector import Vigil
from lockstore.stores.base import LockStore

if TYPE_CHECKING:
    from daemon.serving.session import Session

__all__ = ["Current", "Parts", "parts_of", "pass_by"]

_HEARTBEATS_MOST = 3  # after so many without a word, RabbitMQ has surely given our partitions to others


class Current:
    """The session that serves now, for those who only look; None: there is none."""

    def __init__(self) -> None:
        self.session: Session | None = None

    @property
    def active(self) -> list[int]:
        """The partitions that RabbitMQ has chosen this daemon for, as far as messages have shown."""
        return [] if self.session is None else self.session.active

    @property
    def waiting(self) -> int:
        """How many messages are here and not done with."""
        return 0 if self.session is None else self.session.waiting


@dataclass(slots=True)
class Parts:
    """What outlives a connection.

    The settings, the store, the deadlines, the tests' way to stop between steps; how this daemon is, what serves now, and who it is; what it
    counts, and what all daemons say.
    """

    settings: Settings  # replaced when the configuration is read again
    keeper: Keeper
    timers: Timers
    vigil: Vigil
    checkpoint: Callable[[str], None]
    health: Health
    pulse: Pulse
    current: Current
    me: Me
    fleet: Fleet
    figures: Figures
    observers: Observers
    outstanding: Outstanding


def pass_by(_: str) -> None:
    """Let it pass: nothing is armed at this checkpoint."""


def parts_of(settings: Settings, store: LockStore, checkpoint: Callable[[str], None] = pass_by) -> Parts:
    """Put together what a process needs. `checkpoint` is called by name between the steps."""
    # Half the window: a request that ended while we were away is remembered for all of it, from its end on.
    away_most_s = min(settings.daemon.dedup_window / 2, settings.broker.heartbeat * _HEARTBEATS_MOST)
    vigil = Vigil(away_most_s)
    health, me, figures = Health(), Me(), Figures()
    return Parts(
        settings,
        Keeper(store, health, figures, vigil.check),
        Timers(),
        vigil,
        checkpoint,
        health,
        Pulse(max(STALL_S, store.patience_s or settings.broker.batch_most)),  # None: a second for each message
        Current(),
        me,
        Fleet(me),
        figures,
        Observers(figures.served),
        Outstanding(),
    )
