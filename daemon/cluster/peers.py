"""The fleet: which daemons there are, what each says it is doing, and the record of what all of them did.

What is known comes from presence words, this daemon's own among them. For people to look at; nothing rests on it.
"""

from dataclasses import dataclass

from daemon.cluster.fair_share import SILENT_S
from daemon.cluster.heartbeat import DaemonIdentity, Heartbeat
from daemon.monitoring.timeline import Timeline

__all__ = ["ClusterView", "PeerDaemon"]

_GONE_S = 60.0  # a daemon that fell silent without a goodbye is shown for so long: it may be what somebody looks for
_MOST = 1000  # of daemons: words are not signed, and nobody's words may fill the memory


@dataclass(frozen=True, slots=True)
class PeerDaemon:
    """A daemon as it last spoke."""

    word: Heartbeat
    heard_at: float
    is_silent: bool
    is_me: bool


class ClusterView:
    """What this daemon has heard of all."""

    def __init__(self, me: DaemonIdentity) -> None:
        self._me = me
        self._heard: dict[str, tuple[Heartbeat, float]] = {}
        self.record = Timeline()

    def receive(self, word: Heartbeat, now: float) -> None:
        """Take in what a daemon says; our own words count like all others."""
        before = self._heard.get(word.daemon)
        if before is not None and before[0].counts is not None and word.counts is not None:
            self.record.happened(before[0].counts, word.counts, before[1], now)
        self._forget(now)
        if word.leaving:
            self._heard.pop(word.daemon, None)
        elif before is not None or len(self._heard) < _MOST:
            self._heard[word.daemon] = word, now

    def members(self, now: float) -> list[PeerDaemon]:
        """Give the daemons that are there, the longest serving first."""
        self._forget(now)
        members = [
            PeerDaemon(word, at, is_silent=now - at > SILENT_S, is_me=word.daemon == self._me.daemon)
            for word, at in self._heard.values()
        ]
        return sorted(members, key=lambda member: (member.word.started_at, member.word.daemon))

    def _forget(self, now: float) -> None:
        for name in [name for name, (_, at) in self._heard.items() if now - at > _GONE_S]:
            del self._heard[name]
