"""What all sessions of a process share."""

from collections.abc import Callable
from dataclasses import dataclass

from daemon.fleet import Fleet
from daemon.health import Health
from daemon.keeper import Keeper
from daemon.observing import Observers
from daemon.presence import Me
from daemon.settings import Settings
from daemon.sweeper import Timers
from daemon.tally import Tally
from daemon.vigil import Vigil
from lockstore.store import LockStore

__all__ = ["Parts", "parts_of", "pass_by"]

_HEARTBEATS_MOST = 3  # after so many without a word, RabbitMQ has surely given our partitions to others


@dataclass(frozen=True, slots=True)
class Parts:
    """What outlives a connection.

    The settings, the store, the deadlines, the tests' way to stop between steps; how this daemon is, and who it is; what it
    counts, and what all daemons say.
    """

    settings: Settings
    keeper: Keeper
    timers: Timers
    vigil: Vigil
    checkpoint: Callable[[str], None]
    health: Health
    me: Me
    fleet: Fleet
    tally: Tally
    observers: Observers


def pass_by(_: str) -> None:
    """Let it pass: nothing is armed at this checkpoint."""


def parts_of(settings: Settings, store: LockStore, checkpoint: Callable[[str], None] = pass_by) -> Parts:
    """Put together what a process needs. `checkpoint` is called by name between the steps."""
    # Half the window: a request that ended while we were away is remembered for all of it, from its end on.
    away_most_s = min(settings.daemon.dedup_window / 2, settings.broker.heartbeat * _HEARTBEATS_MOST)
    vigil = Vigil(away_most_s)
    health, me, tally = Health(), Me(), Tally()
    return Parts(
        settings,
        Keeper(store, health, vigil.check),
        Timers(),
        vigil,
        checkpoint,
        health,
        me,
        Fleet(me),
        tally,
        Observers(tally.served),
    )
