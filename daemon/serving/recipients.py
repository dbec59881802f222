"""Flow control per recipient: how many messages may be outstanding for each reply queue and each conversation's public copies.

No queue delays another. Messages that exceed a recipient's window wait in its backlog, in order; what the broker refuses goes
back there and is retried. Does no I/O; times are passed in, in seconds of a monotonic clock.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from daemon.serving.recipient import REPLY_WINDOW, Copy, Lane, LaneName, Recipient
from lockstore.util.backoff import Backoff

__all__ = ["PUBLIC_LANE_WINDOW", "Recipients"]

PUBLIC_WINDOW = 16  # for the public copies of one conversation
PUBLIC_LANE_WINDOW = (
    128  # for all of them together: well below the 200 messages after which RabbitMQ stops reading the connection
)
REPLY_LANE_WINDOW = 1_000_000  # replies are bounded by each queue's window and by the prefetch
_FIRST_RETRY_S, _MOST_RETRY_S = 0.25, 10.0  # pauses after a refusal
_KNOWN_MOST = 10_000  # recipients; beyond that, idle ones lose the window they have reached
RETRIES_MOST = 32  # recipients that refused, retried in one round

UNWANTED_MOST = 1000  # replies held back that no delivery waits for any more


class Recipients:
    """All recipients, with their outstanding and held-back messages.

    `public_most`: the most public copies held back; beyond that the oldest are tried once more and then given up.
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
        self._unwanted: deque[Copy] = deque()  # oldest first
        self._public_held: deque[Copy] = deque()  # oldest first; entries that are no longer held are skipped

    @property
    def has_refused(self) -> bool:
        """Whether messages of some recipient are to be retried after a pause."""
        return bool(self._refused)

    @property
    def is_ready(self) -> bool:
        """Whether messages can be sent now."""
        return bool(self._ready or self._final)

    def admit(self, copy: Copy, now: float) -> tuple[bool, bool]:
        """Accept a new message. Returns whether to send it at once, and whether its answer is worth waiting for."""
        recipient = self._recipient(copy)
        late = recipient.is_late(now) or recipient.backoff is not None
        lane = recipient.lane
        has_room = recipient.has_room(now) and lane.outstanding < lane.window
        if not recipient.backlog and has_room and copy.outlet.has_room(recipient, now):
            self._send(recipient, copy, now)
            return True, not late
        self._hold(recipient, copy)
        return False, not late

    def give_up(self, copy: Copy) -> None:
        """Record that no delivery waits for this reply: if sent it is not repeated, if held back it is dropped first."""
        if copy.state == "sent":
            copy.state = "final"
        elif copy.state == "held":
            self._unwanted.append(copy)
            while len(self._unwanted) > UNWANTED_MOST:
                self.drop(self._unwanted.popleft())

    def drop(self, copy: Copy) -> None:
        """Discard a message that is held back, without notifying its owner."""
        if copy.state == "held":
            copy.state = "done"
            recipient = self._recipient(copy)
            self.held[copy.lane] -= 1
            recipient.backlog.remove((copy.sequence, copy))
            heapq.heapify(recipient.backlog)

    def answer(self, copy: Copy, error: Exception | None, now: float, *, is_refusal: bool) -> None:
        """Process the broker's answer."""
        recipient = self._recipient(copy)
        recipient.widen(now)
        recipient.outstanding -= 1
        recipient.lane.outstanding -= 1
        recipient.answered_at = now
        self.wake(copy.outlet.answered(copy, error, now))
        if is_refusal and copy.state != "final":
            self._refuse(recipient, copy, now)
        else:
            copy.state = "done"
            if not is_refusal and recipient.backoff is not None:
                recipient.backoff.reset()
                recipient.retry_at = 0.0
                recipient.allowed = min(recipient.window, recipient.allowed * 2)
            copy.owner.finished(copy, error)
        if recipient.backlog:
            if recipient.outstanding * 2 <= recipient.allowed:  # several in one write instead of one per confirm
                self._ready[recipient] = None
        elif not recipient.outstanding and (recipient.allowed <= recipient.window or len(self._known) > _KNOWN_MOST):
            self._forget(recipient)
        lane = recipient.lane
        if lane.waiting and lane.outstanding * 2 <= lane.window:
            for _ in range(min(len(lane.waiting), lane.window - lane.outstanding)):
                self._ready[lane.waiting.popleft()] = None

    def next_copies(self, now: float) -> list[Copy]:
        """Remove from the backlogs what can be sent now, and return it."""
        copies: list[Copy] = []
        while self._final and self.lanes["public"].outstanding < PUBLIC_LANE_WINDOW:
            copy = self._final.popleft()
            self._count(self._recipient(copy), copy, now)
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

    def wake(self, recipients: Iterable[Recipient]) -> None:
        """Mark recipients as having room."""
        self._ready.update(dict.fromkeys(recipients))

    def unconfirmed(self, now: float, limit_s: float) -> dict[LaneName, int]:
        """Return the number of messages that are overdue for an answer or held back, by lane."""
        counts = dict(self.held)
        for recipient in self._known.values():
            if recipient.is_late(now, limit_s):
                counts[recipient.lane.name] += recipient.outstanding
        return counts

    def troubled(self, now: float, limit_s: float) -> Iterator[Recipient]:
        """Yield the recipients that do not confirm, or refuse."""
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
        if not recipient.is_known:
            return  # it was ready twice, and another one may bear its name by now
        del self._known[recipient.lane.name, recipient.name]
        recipient.is_known = False
        self._refused.discard(recipient)

    def _count(self, recipient: Recipient, copy: Copy, now: float) -> None:
        copy.outlet.take(copy, now)
        if not recipient.outstanding:
            recipient.answered_at = now
        recipient.outstanding += 1
        recipient.lane.outstanding += 1

    def _send(self, recipient: Recipient, copy: Copy, now: float) -> None:
        copy.state = "sent"
        self._count(recipient, copy, now)

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
        if recipient.retry_at <= now:  # of several sent together only the first counts
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
                if not copy.outlet.has_room(recipient, now):
                    if not recipient.outstanding:  # otherwise their answer makes room
                        copy.outlet.wait(recipient)
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
