"""Flow control towards those who are told: for each reply queue and each conversation's public copies, how much may be outstanding.

Nobody waits for another one's queue. What a recipient has no room for waits in its backlog, in order; what the broker refuses
goes back there and is tried again later. No input or output; moments are given, in seconds on a clock that only goes forward.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lockstore.util.backoff import Backoff

__all__ = ["LATE_S", "Copy", "Lane", "Owner", "Recipient", "Recipients"]

LATE_S = 0.1
"""A recipient whose oldest message has no answer for so long is late: no batch waits for its confirms."""

REPLY_WINDOW = 31  # a quorum queue with 32 commands that it has not confirmed blocks the whole channel that feeds it
REPLY_WINDOW_MOST = 496  # while a queue confirms at once, more are under way with each round: many may share a queue
PUBLIC_WINDOW = 16  # the same for the public copies of one conversation
PUBLIC_LANE_WINDOW = (
    128  # for all of them: far from the 200 messages after which RabbitMQ no longer reads the connection
)
REPLY_LANE_WINDOW = 1_000_000  # what bounds replies is the window of each queue, and the prefetch
_FIRST_RETRY_S, _MOST_RETRY_S = 0.25, 10.0  # pauses after a refusal
_KNOWN_MOST = 10_000  # recipients; beyond it, how fast the idle ones are is forgotten
RETRIES_MOST = 32  # recipients that refused and are tried again in one round

LaneName = Literal["reply", "public"]


class Owner(Protocol):
    """Whose message it is, and who hears what becomes of it."""

    def finished(self, copy: "Copy", error: Exception | None) -> None:
        """Hear, once, that it is told, or given up."""

    def refused(self, copy: "Copy") -> None:
        """Hear that the broker has refused it, and that it is tried again."""


@dataclass(slots=True, eq=False)
class Copy:
    """One message for one recipient: the reply, or what the public is told."""

    payload: Any  # encoded for its publisher
    publisher: Any
    lane: LaneName
    name: str  # of the recipient
    sequence: int
    is_kept: bool  # whether the outbox has it until it is told
    owner: "Owner"
    useless_at: float = float("inf")  # nobody needs to hear it after this moment
    state: Literal["new", "sent", "held", "final", "done"] = "new"
    is_listed: bool = False
    recipient: "Recipient | None" = None


@dataclass(slots=True, eq=False)
class Lane:
    """All recipients of one kind share a window, too."""

    name: LaneName
    window: int
    outstanding: int = 0
    waiting: deque["Recipient"] = field(default_factory=deque)  # those with a backlog, for whom the lane had no room


@dataclass(slots=True, eq=False)
class Recipient:
    """A reply queue, or the public copies of one conversation."""

    lane: Lane
    name: str
    window: int
    outstanding: int = 0
    answered_at: float = 0.0  # the last answer, or since when the first message is outstanding
    backlog: list[tuple[int, Copy]] = field(default_factory=list)  # a heap, in the order of the events
    allowed: int = 0  # after a refusal one message at a time, then ever more
    retry_at: float = 0.0
    refused_at: float | None = None
    backoff: Backoff | None = None
    is_known: bool = True

    def is_late(self, now: float, limit_s: float = LATE_S) -> bool:
        """Tell whether an answer is outstanding for longer than this."""
        return self.outstanding > 0 and now - self.answered_at > limit_s

    def widen(self, now: float) -> None:
        """Have more under way where an answer came at once and more is held back; begin anew where it came late."""
        if self.is_late(now):
            self.allowed = min(self.allowed, self.window)
        elif self.backlog and self.backoff is None and self.lane.name == "reply":
            self.allowed = min(self.allowed + 1, REPLY_WINDOW_MOST)

    @property
    def troubled_at(self) -> float:
        """The moment of the first refusal, or of the last answer."""
        return self.answered_at if self.refused_at is None else self.refused_at

    def has_room(self, now: float) -> bool:
        """Tell whether one more may be sent."""
        return self.outstanding < self.allowed and self.retry_at <= now


class Recipients:
    """Who is told, what is outstanding, and what is held back.

    `public_most`: public copies that are held back; beyond it the oldest are tried once more, and then given up.
    """

    def __init__(self, public_most: int) -> None:
        self.lanes: dict[LaneName, Lane] = {
            "reply": Lane("reply", REPLY_LANE_WINDOW),
            "public": Lane("public", PUBLIC_LANE_WINDOW),
        }
        self.held: dict[LaneName, int] = {"reply": 0, "public": 0}
        self.given_up = 0
        self._public_most = public_most
        self._known: dict[tuple[LaneName, str], Recipient] = {}
        self._refused: set[Recipient] = set()
        self._ready: dict[Recipient, None] = {}
        self._final: deque[Copy] = deque()
        self._public_held: deque[Copy] = deque()  # oldest first; those that are no longer held are passed over

    @property
    def has_refused(self) -> bool:
        """Whether somebody's messages are to be tried again after a pause."""
        return bool(self._refused)

    @property
    def is_ready(self) -> bool:
        """Whether something may be sent now."""
        return bool(self._ready or self._final)

    def admit(self, copy: Copy, now: float) -> tuple[bool, bool]:
        """Take a new message: whether it is to be sent at once, and whether its answer is worth waiting for."""
        recipient = self._recipient(copy)
        late = recipient.is_late(now) or recipient.backoff is not None
        lane = recipient.lane
        if not recipient.backlog and recipient.has_room(now) and lane.outstanding < lane.window:
            self._send(recipient, copy, now)
            return True, not late
        if copy.is_kept or not late:
            self._hold(recipient, copy)
            return False, not late
        if recipient.outstanding < recipient.window and lane.outstanding < lane.window:
            self._send(recipient, copy, now)  # nobody keeps it, so it is tried, whatever is held back
            return True, False
        copy.state = "done"
        copy.owner.finished(copy, None)
        return False, False

    def answer(self, copy: Copy, error: Exception | None, now: float, *, is_refusal: bool) -> None:
        """Take the broker's answer."""
        recipient = self._recipient(copy)
        recipient.widen(now)
        recipient.outstanding -= 1
        recipient.lane.outstanding -= 1
        recipient.answered_at = now
        if is_refusal and copy.is_kept and copy.state != "final":
            self._refuse(recipient, copy, now)
        else:
            copy.state = "done"
            if not is_refusal and recipient.backoff is not None:
                recipient.backoff.reset()
                recipient.retry_at = 0.0
                recipient.allowed = min(recipient.window, recipient.allowed * 2)
            copy.owner.finished(copy, error)
        if recipient.backlog:
            if recipient.outstanding * 2 <= recipient.allowed:  # several in one write, not one after each confirm
                self._ready[recipient] = None
        elif not recipient.outstanding and (recipient.allowed <= recipient.window or len(self._known) > _KNOWN_MOST):
            self._forget(recipient)
        lane = recipient.lane
        if lane.waiting and lane.outstanding * 2 <= lane.window:
            for _ in range(min(len(lane.waiting), lane.window - lane.outstanding)):
                self._ready[lane.waiting.popleft()] = None

    def next_copies(self, now: float) -> list[Copy]:
        """Take what may be sent now out of the backlogs."""
        copies: list[Copy] = []
        while self._final and self.lanes["public"].outstanding < PUBLIC_LANE_WINDOW:
            copy = self._final.popleft()
            self._count(self._recipient(copy), now)
            copies.append(copy)
        while self._final:
            self._end(self._final.popleft())
        retried = 0
        for recipient in [item for item in self._refused if item.retry_at <= now]:
            if recipient.backlog and not recipient.outstanding and retried < RETRIES_MOST:
                self._ready[recipient] = None
                retried += 1
            elif not recipient.backlog and not recipient.outstanding:
                self._forget(recipient)
        ready, self._ready = self._ready, {}
        for recipient in ready:
            self._empty(recipient, copies, now)
        return copies

    def unconfirmed(self, now: float, limit_s: float) -> dict[LaneName, int]:
        """Count the messages that have no answer for too long, and those that are held back."""
        counts = dict(self.held)
        for recipient in self._known.values():
            if recipient.is_late(now, limit_s):
                counts[recipient.lane.name] += recipient.outstanding
        return counts

    def troubled(self, now: float, limit_s: float) -> Iterator[Recipient]:
        """Give the recipients that do not confirm, or refuse."""
        return (item for item in self._known.values() if item.backoff is not None or item.is_late(now, limit_s))

    def _recipient(self, copy: Copy) -> Recipient:
        if copy.recipient is not None and copy.recipient.is_known:
            return copy.recipient
        key = (copy.lane, copy.name)
        recipient = self._known.get(key)
        if recipient is None:
            window = REPLY_WINDOW if copy.lane == "reply" else PUBLIC_WINDOW
            recipient = self._known[key] = Recipient(self.lanes[copy.lane], copy.name, window, allowed=window)
        copy.recipient = recipient
        return recipient

    def _forget(self, recipient: Recipient) -> None:
        self._known.pop((recipient.lane.name, recipient.name), None)
        recipient.is_known = False
        self._refused.discard(recipient)

    def _count(self, recipient: Recipient, now: float) -> None:
        if not recipient.outstanding:
            recipient.answered_at = now
        recipient.outstanding += 1
        recipient.lane.outstanding += 1

    def _send(self, recipient: Recipient, copy: Copy, now: float) -> None:
        copy.state = "sent"
        self._count(recipient, now)

    def _hold(self, recipient: Recipient, copy: Copy) -> None:
        copy.state = "held"
        heapq.heappush(recipient.backlog, (copy.sequence, copy))
        self.held[copy.lane] += 1
        self._ready[recipient] = None
        if copy.lane == "public":
            if not copy.is_listed:
                copy.is_listed = True
                self._public_held.append(copy)
            self._bound()

    def _bound(self) -> None:
        while self._public_held and self._public_held[0].state != "held":
            self._public_held.popleft().is_listed = False
        while self.held["public"] > self._public_most and self._public_held:
            copy = self._public_held.popleft()
            copy.is_listed = False
            if copy.state == "held":
                copy.state = "final"
                self.held["public"] -= 1
                self.given_up += 1
                self._final.append(copy)

    def _refuse(self, recipient: Recipient, copy: Copy, now: float) -> None:
        if recipient.backoff is None:
            recipient.refused_at = now
            recipient.backoff = Backoff(_FIRST_RETRY_S, _MOST_RETRY_S)
        if recipient.retry_at <= now:  # of several that were sent together, the first counts
            recipient.retry_at = now + recipient.backoff.next_s()
        recipient.allowed = 1
        self._refused.add(recipient)
        self._hold(recipient, copy)
        copy.owner.refused(copy)

    def _empty(self, recipient: Recipient, copies: list[Copy], now: float) -> None:
        lane = recipient.lane
        while recipient.backlog and recipient.has_room(now):
            _, copy = recipient.backlog[0]
            if copy.state == "held" and copy.useless_at > now:
                if lane.outstanding >= lane.window:
                    lane.waiting.append(recipient)
                    return
                self.held[copy.lane] -= 1
                self._send(recipient, copy, now)
                copies.append(copy)
            elif copy.state == "held":
                self.held[copy.lane] -= 1
                self._end(copy)
            heapq.heappop(recipient.backlog)
        if not recipient.backlog and not recipient.outstanding and recipient.allowed <= recipient.window:
            self._forget(recipient)

    def _end(self, copy: Copy) -> None:
        copy.state = "done"
        copy.owner.finished(copy, None)
