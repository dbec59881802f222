"""Which partition to step back from, so that each daemon is active on a fair share of the busy ones.

RabbitMQ alone decides who is active: on each queue the first that came, and after it the one that has waited longest. All
that a daemon can do is step back, to the end of that line. So one that has more than its share steps back from the newest
of its partitions, and whoever gets it does the same: the partition goes from one to the next until it comes to one with
room. Nothing of order or safety rests on it; a daemon that is mistaken about the others costs a detour.

No input or output, no clock: moments are given, in seconds on a clock that only goes forward.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["SETTLE_S", "SILENT_S", "FairShare"]

SILENT_S = 5.0
"""A daemon that has said nothing for so long counts no longer: it has stopped, or was never of those that speak."""

SETTLE_S = 2.0
"""How long all must stand still before a daemon gives of its fair share to one that has less: two words of everybody's."""

_TRANSIT_S = (
    3.0  # a partition that was busy so recently still counts, though nobody is known to have it: it is changing hands
)
_RETURN_S = 10.0  # one that is back so soon found no room anywhere
_KEEP_FIRST_S, _KEEP_MOST_S = 5.0, 300.0  # then it stays for so long, each time twice as long as before


@dataclass(slots=True)
class _Other:
    """What another daemon last said of itself."""

    busy: set[int]
    heard_at: float
    is_doubtful: bool = False  # somebody else has got what it said it had: it may have ended since


@dataclass(slots=True)
class _Left:
    """A partition that this daemon has stepped back from."""

    at: float
    keep_s: float = _KEEP_FIRST_S / 2
    keep_until: float = 0.0


class FairShare:
    """What one daemon knows of all, and what it makes of it."""

    def __init__(self, me: str) -> None:
        """Take this daemon's id. Ids order the daemons where only one of several may act."""
        self._me = me
        self._mine: frozenset[int] = frozenset()
        self._others: dict[str, _Other] = {}
        self._known_busy: dict[int, float] = {}  # partition: when somebody last had it, and it was busy
        self._left: dict[int, _Left] = {}
        self._changed_at = 0.0

    @property
    def daemons(self) -> int:
        """How many daemons share the load, this one included."""
        return 1 + sum(not other.is_doubtful for other in self._others.values())

    def heard(self, daemon: str, busy: Iterable[int], now: float) -> None:
        """Take note of what another daemon says it is busy with."""
        claimed = set(busy)
        before = self._others.get(daemon)
        if before is None or before.busy != claimed or before.is_doubtful:
            self._changed_at = now
        gained = claimed - before.busy if before else claimed
        self._others[daemon] = _Other(claimed, now)
        self._supersede(gained, daemon)
        self._known_busy.update(dict.fromkeys(claimed, now))

    def ended(self, daemon: str, now: float) -> None:
        """Take note that another daemon has said goodbye."""
        if self._others.pop(daemon, None) is not None:
            self._changed_at = now

    def choose(self, busy: Mapping[int, float], now: float) -> int | None:
        """Give the partition to step back from now, or None.

        `busy`: the partitions that this daemon is busy with, and since when.
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
        self._mine -= {chosen}  # so that it is noticed if it comes back before the next look
        self._changed_at = now
        return chosen

    def _is_too_much(self, mine: int, counts: Mapping[str, int], now: float) -> bool:
        known = self._known_busy.keys() | {number for other in self._others.values() for number in other.busy}
        share = -(-len(known) // (len(counts) + 1))  # rounded up: nobody is to have more
        if mine > share:
            return True
        if now - self._changed_at < SETTLE_S or mine - min(counts.values()) <= 1:
            return False
        # Somebody has at least two less. Of those who have most, one gives.
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
        """Take partitions from those who said they had them: they would have said so if they had stepped back."""
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
