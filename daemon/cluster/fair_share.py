"""Chooses a partition to yield, so that each daemon is active on a fair share of the busy ones.

RabbitMQ alone decides which daemon is active on a queue: the first consumer, then the one that has waited longest. A daemon
can only yield, and then waits behind all others. A daemon with more than its share yields the newest of its partitions, and
the daemon that gets it does the same, until the partition reaches one that has room. Order and safety do not depend on
this; a daemon with wrong information about the others causes a detour.

No I/O and no clock: times are passed in, in seconds of a monotonic clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["SETTLE_S", "SILENT_S", "FairShare"]

SILENT_S = 5.0
"""How long a silent daemon counts: afterwards it has stopped, or never sent heartbeats."""

SETTLE_S = 2.0
"""How long nothing may change before a daemon gives part of its fair share to one with less: two heartbeats of each."""

_TRANSIT_S = 3.0  # how long a busy partition counts without a known owner: it is being handed over
_RETURN_S = 10.0  # a partition that returns sooner found no room elsewhere
_KEEP_FIRST_S, _KEEP_MOST_S = 5.0, 300.0  # it is then kept for so long, doubling each time


@dataclass(slots=True)
class _Other:
    """The last heartbeat of another daemon."""

    busy: set[int]
    heard_at: float
    is_doubtful: bool = False  # another daemon got its partition; it may have stopped


@dataclass(slots=True)
class _Left:
    """A partition that this daemon has yielded."""

    at: float
    keep_s: float = _KEEP_FIRST_S / 2
    keep_until: float = 0.0


class FairShare:
    """What one daemon knows about all, and the decisions it derives."""

    def __init__(self, me: str) -> None:
        """`me` is this daemon's id. Ids break ties where only one of several daemons may act."""
        self._me = me
        self._mine: frozenset[int] = frozenset()
        self._others: dict[str, _Other] = {}
        self._known_busy: dict[int, float] = {}  # partition: when it was last owned and busy
        self._left: dict[int, _Left] = {}
        self._changed_at = 0.0

    @property
    def daemons(self) -> int:
        """How many daemons share the load, including this one."""
        return 1 + sum(not other.is_doubtful for other in self._others.values())

    def heard(self, daemon: str, busy: Iterable[int], now: float) -> None:
        """Record the busy partitions of another daemon."""
        claimed = set(busy)
        before = self._others.get(daemon)
        if before is None or before.busy != claimed or before.is_doubtful:
            self._changed_at = now
        gained = claimed - before.busy if before else claimed
        self._others[daemon] = _Other(claimed, now)
        self._supersede(gained, daemon)
        self._known_busy.update(dict.fromkeys(claimed, now))

    def ended(self, daemon: str, now: float) -> None:
        """Record that another daemon has stopped."""
        if self._others.pop(daemon, None) is not None:
            self._changed_at = now

    def choose(self, busy: Mapping[int, float], now: float) -> int | None:
        """Return the partition to yield now, or None.

        `busy`: the partitions this daemon is busy with, and since when.
        """
        self._note_mine(frozenset(busy), now)
        self._forget(now)
        counts = {name: len(other.busy) for name, other in self._others.items() if not other.is_doubtful}
        free = [number for number in busy if self._may_leave(number, now)]
        if not counts or not free or not self._is_too_much(len(busy), counts, now):
            return None
        chosen = max(free, key=lambda number: (busy[number], number))
        left = self._left.setdefault(chosen, _Left(now))
        left.at = now
        self._mine -= {chosen}  # so that its return before the next call is noticed
        self._changed_at = now
        return chosen

    def _is_too_much(self, mine: int, counts: Mapping[str, int], now: float) -> bool:
        known = self._known_busy.keys() | {number for other in self._others.values() for number in other.busy}
        share = -(-len(known) // (len(counts) + 1))  # rounded up: no daemon is to have more
        if mine > share:
            return True
        if now - self._changed_at < SETTLE_S or mine - min(counts.values()) <= 1:
            return False
        # Some daemon has at least two fewer. One of those with the most yields.
        return all(count < mine or (count == mine and self._me < name) for name, count in counts.items())

    def _may_leave(self, number: int, now: float) -> bool:
        left = self._left.get(number)
        return left is None or left.keep_until <= now

    def _note_mine(self, mine: frozenset[int], now: float) -> None:
        gained = mine - self._mine
        if mine != self._mine:
            self._changed_at = now
        self._mine = mine
        self._supersede(gained, self._me)
        self._known_busy.update(dict.fromkeys(mine, now))
        for number in gained & self._left.keys():
            left = self._left[number]
            if now - left.at < _RETURN_S:
                left.keep_s = min(_KEEP_MOST_S, left.keep_s * 2)
                left.keep_until = now + left.keep_s

    def _supersede(self, gained: Iterable[int], by: str) -> None:
        """Remove partitions from the daemons that reported them last: they have lost them without yielding."""
        for number in gained:
            for name, other in self._others.items():
                if name != by and number in other.busy:
                    other.busy.discard(number)
                    other.is_doubtful = True

    def _forget(self, now: float) -> None:
        for name in [name for name, other in self._others.items() if now - other.heard_at > SILENT_S]:
            del self._others[name]
            self._changed_at = now
        for number in [number for number, at in self._known_busy.items() if now - at > _TRANSIT_S]:
            del self._known_busy[number]
        calm = [number for number, left in self._left.items() if now - max(left.at, left.keep_until) > _KEEP_MOST_S]
        for number in calm:
            del self._left[number]
