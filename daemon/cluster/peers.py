"""All running daemons, their last heartbeats, and the timeline of their work.

Derived from heartbeats, including this daemon's own. For display only; nothing depends on it.
"""

from dataclasses import dataclass

from daemon.cluster.fair_share import SILENT_S
from daemon.cluster.heartbeat import DaemonIdentity, Heartbeat
from daemon.monitoring.timeline import Timeline

__all__ = ["ClusterView", "PeerDaemon"]

_GONE_S = 60.0  # how long a daemon that disappeared without stopping is displayed: an operator may be looking for it
_MOST = 1000  # daemons; heartbeats are not authenticated and must not exhaust the memory


@dataclass(frozen=True, slots=True)
class PeerDaemon:
    """A daemon, according to its last heartbeat."""

    word: Heartbeat
    heard_at: float
    is_silent: bool
    is_me: bool


class ClusterView:
    """All daemons known from heartbeats."""

    def __init__(self, me: DaemonIdentity) -> None:
        self.me = me
        self._heard: dict[str, tuple[Heartbeat, float]] = {}
        self.record = Timeline()

    def receive(self, word: Heartbeat, now: float) -> None:
        """Record a heartbeat; our own counts like all others."""
        before = self._heard.get(word.daemon)
        if before is not None and before[0].counts is not None and word.counts is not None:
            self.record.happened(before[0].counts, word.counts, before[1], now)
        self._forget(now)
        if word.leaving:
            self._heard.pop(word.daemon, None)
        elif before is not None or len(self._heard) < _MOST:
            self._heard[word.daemon] = word, now

    def members(self, now: float) -> list[PeerDaemon]:
        """Return the running daemons, the longest running first."""
        self._forget(now)
        members = [
            PeerDaemon(word, at, is_silent=now - at > SILENT_S, is_me=word.daemon == self.me.daemon)
            for word, at in self._heard.values()
        ]
        return sorted(members, key=lambda member: (member.word.started_at, member.word.daemon))

    def speaking(self, now: float) -> list[Heartbeat]:
        """Return the last heartbeat of each daemon that is not silent."""
        return [member.word for member in self.members(now) if not member.is_silent]

    def _forget(self, now: float) -> None:
        for name in [name for name, (_, at) in self._heard.items() if now - at > _GONE_S]:
            del self._heard[name]
