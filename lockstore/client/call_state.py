"""One `lock()` call, from the question to the end of the lease: what each answer means for it. No I/O, no clock.

    WAITING ──granted──► HELD ──renewed──► HELD ──(its end was told)──► OVER
       │
       └──(refused, or its end was told)──► OVER ──restart, under a new request id──► WAITING

Every moment (`now`, `sent_at`, ...) is on this process's monotonic clock, in seconds; what messages carry is on the store's.
"""

from collections.abc import Callable
from enum import Enum

from lockstore.client.decisions import Decision, Extended, Failed, Lost, Obtained, Queued, Restart, WrongPartition
from lockstore.client.lease import LeaseClock, margin_s
from lockstore.client.outbound import LockParams, OutboundMessage, is_release, release, renewal, request
from lockstore.client.replies import shorten
from lockstore.errors import BusyError, LockError, RefusedError, WaitExpiredError
from lockstore.protocol.messages import (
    CancelledMessage,
    ExpiredMessage,
    GrantedMessage,
    Outbound,
    QueuedMessage,
    RejectedMessage,
    ReleasedMessage,
    RenewedMessage,
)

__all__ = ["ANSWER_GRACE_S", "Call", "Phase"]

ANSWER_GRACE_S = 5.0
"""How much longer than the wait the client listens: the daemon's clock decides, and its word takes a while to arrive."""

WAIT_UNSTATED_S = 300.0
"""Until the daemon has said how long an unstated wait is: the daemon's own default."""

UNSTATED_MOST_S = 30 * 86_400.0
"""No wait and no lease is believed to be longer, unless the caller asked for more."""

RENEW_SHARE = 1 / 3  # of the lease: two more chances if the first renewal fails
RENEW_RETRY_SHARE = 1 / 12  # of the lease: so often a renewal is tried again, until it is answered or the lease is lost
RENEW_RETRY_MOST_S = 5.0
_LEASE_ROUNDING_S = 0.002  # the daemon counts in milliseconds, and a lease lasts at least one
_RENEWALS_REMEMBERED = 16  # renewals whose answer may still come


class Phase(Enum):
    """Where a call stands."""

    WAITING = "waiting"
    HELD = "held"
    OVER = "over"


class Call:
    """The state of one `lock()` call."""

    def __init__(self, wanted: LockParams, now: float, new_id: Callable[[], str]) -> None:
        self.wanted = wanted
        self.started_at = now
        wait_s = WAIT_UNSTATED_S if wanted.wait is None else wanted.wait
        self.deadline = now + min(wait_s, UNSTATED_MOST_S) + ANSWER_GRACE_S
        self.is_unguarded = False  # whether the task that entered has ended, so that nothing can stop the body
        self.partition: int | None = None  # where it is served, if that is not where its conversation should be
        self._new_id = new_id
        self._ever_asked = False
        self._wait_s = wanted.wait  # None: until the daemon has said how long an unstated wait is
        self._begin()

    def _begin(self) -> None:
        self.phase = Phase.WAITING
        self.request_id = self._new_id()
        self.asked = False  # whether the daemon may know of this request id
        self.is_known_over = False  # whether the daemon has said that the ticket is over
        self.granted: GrantedMessage | None = None
        self.lost: Lost | None = None
        self.expires_at = 0.0  # the store's clock
        self.ends_at = 0.0  # ours: the lease surely lasts until then
        self.renew_at = 0.0
        self.epoch = 0  # the connection on which it was asked for last: answers go to that one's reply queue
        self._lease_s = 0.0
        self._clock = LeaseClock()
        self._asked_at = 0.0
        self._renewals: dict[str, float] = {}
        self._renewal_number = 0

    # --- what is sent ---------------------------------------------------------------------------------------------

    def ask(self, now: float, epoch: int) -> OutboundMessage:
        """Write the request, about to be sent on this connection."""
        if epoch != self.epoch or not self.asked:
            # The first time on each connection: its answers have an address that the daemon did not know before.
            self._asked_at = now
        self.epoch = epoch
        wait = self.wanted.wait
        if self._ever_asked and self._wait_s is not None:
            wait = max(0.0, self.started_at + self._wait_s - now)  # if the first one was lost, this one waits no longer
        self.asked = self._ever_asked = True
        return request(self.wanted, self.request_id, wait, self.partition)

    def renew(self, now: float) -> OutboundMessage:
        """Write a renewal, about to be sent."""
        self._renewal_number += 1
        tag = str(self._renewal_number)
        self._renewals[tag] = now
        while len(self._renewals) > _RENEWALS_REMEMBERED:
            del self._renewals[next(iter(self._renewals))]
        self.renew_at = now + min(RENEW_RETRY_MOST_S, self._lease_s * RENEW_RETRY_SHARE)
        return renewal(self.wanted.conversation_id, self.request_id, self.number, tag, self.partition)

    def give_back(self) -> OutboundMessage:
        """Write the release of what is held or waits. From now on, nothing that is said about it matters."""
        self.phase = Phase.OVER
        # Where the number is in doubt the request id alone names the ticket; both would have to match.
        number = self.granted.ticket_number if self.granted and not self.lost else None
        return release(self.wanted.conversation_id, self.request_id, number, self.partition)

    # --- what is known --------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The ticket's number, once it is granted."""
        if self.granted is None:
            raise LookupError("not granted yet")
        return self.granted.ticket_number

    @property
    def safe_until(self) -> float:
        """The moment by which the body must have stopped."""
        return self.ends_at - margin_s(self._lease_s)

    def wait_is_over(self, now: float) -> bool:
        """Tell whether the time that the caller is willing to wait has passed, with no grace."""
        wait_s = WAIT_UNSTATED_S if self.wanted.wait is None else self.wanted.wait
        return now >= self.started_at + wait_s

    def restart(self) -> None:
        """Begin again under a new request id, with what is left of the wait."""
        self._begin()

    # --- what is heard --------------------------------------------------------------------------------------------

    def hear(self, message: Outbound, tag: str, now: float) -> Decision | None:
        """Take in an answer to this request id, and say what it means for the call; None: nothing."""
        if is_release(tag):
            return None
        match self.phase:
            case Phase.WAITING:
                return self._hear_waiting(message, now) if not tag else None
            case Phase.HELD:
                return self._hear_held(message, tag, now)
            case Phase.OVER:
                return None

    def _hear_waiting(self, message: Outbound, now: float) -> Decision | None:  # noqa: PLR0911 - one for each answer
        match message:
            case QueuedMessage():
                self._clock.sample(self._asked_at, message.at)
                if self.wanted.wait is None:
                    left_s = min(max(0.0, message.wait_until - message.at), UNSTATED_MOST_S)
                    self.deadline = now + left_s + ANSWER_GRACE_S
                    self._wait_s = self.deadline - ANSWER_GRACE_S - self.started_at
                return Queued()
            case GrantedMessage():
                return self._take(message, now)
            case RejectedMessage():
                return self._refused(message, now)
            case ExpiredMessage(phase="waiting"):
                return self._fail(WaitExpiredError("the turn did not come before the wait was over"))
            case CancelledMessage(reason="requester" | "forced"):
                return self._fail(RefusedError("cancelled", f"the ticket was taken out of the line: {_why(message)}"))
            case CancelledMessage() | ReleasedMessage() | ExpiredMessage():
                # Its turn came and went while no answer could reach us.
                return self._over(Restart())
            case RenewedMessage():
                return None

    def _take(self, message: GrantedMessage, now: float) -> Decision:
        self.granted = message
        self._clock.sample(self._asked_at, message.at)
        self._extend(message, now)
        if self.safe_until <= now:
            self.phase = Phase.OVER
            return Restart(give_back=True)  # it was so long on its way that nothing is left of it
        self.phase = Phase.HELD
        return Obtained()

    def _refused(self, message: RejectedMessage, now: float) -> Decision:
        match message.reason:
            case "wrong_partition" if message.partitions:
                return WrongPartition(message.partitions)
            case "finished":
                return self._over(Restart())
            case "busy" if self.wanted.wait == 0:
                return self._fail(BusyError("someone holds the conversation"))
            case "busy" if self.wait_is_over(now):
                return self._fail(WaitExpiredError("the turn did not come before the wait was over"))
            case reason:
                return self._fail(RefusedError(reason, shorten(message.detail)))

    def _hear_held(self, message: Outbound, tag: str, now: float) -> Decision | None:  # noqa: PLR0911 - likewise
        if tag and tag not in self._renewals:
            return None  # an answer to a renewal that was never sent, or whose answer has come
        match message:
            case RenewedMessage() if (
                message.ticket_number == self.number and (sent_at := self._renewals.pop(tag, None)) is not None
            ):
                self._clock.sample(sent_at, message.at)
                return self._extend(message, now)
            case GrantedMessage() if message.ticket_number == self.number:
                self._clock.sample(self._asked_at, message.at)
                return self._extend(message, now)
            case GrantedMessage() | QueuedMessage() if message.ticket_number != self.number:
                # Only a daemon that has forgotten the ticket issues another one for its request.
                return self._lose("the daemon does not know the ticket any more")
            case RejectedMessage(reason="wrong_partition", partitions=int(partitions)):
                return WrongPartition(partitions)
            case RejectedMessage():
                self.is_known_over = message.reason in ("finished", "unknown_ticket")
                why = message.ended or shorten(message.detail)
                return self._lose(f"the daemon refused to renew it: {message.reason}, {why}")
            case ExpiredMessage() if message.ticket_number == self.number:
                self.is_known_over = True
                return self._lose("it expired")
            case ReleasedMessage() | CancelledMessage() if message.ticket_number == self.number:
                self.is_known_over = True
                return self._lose(f"it was {message.type} ({_why(message)})")
            case _:
                return None

    def lose(self, why: str) -> None:
        """Note that the lease is lost for a reason of this side's: its time is over, or the client is being closed."""
        if self.lost is None:
            self.lost = Lost(why)
        self.phase = Phase.OVER

    # --- steps ----------------------------------------------------------------------------------------------------

    def _extend(self, message: GrantedMessage | RenewedMessage, now: float) -> Decision:
        asked_s = self.wanted.lifetime
        most_s = UNSTATED_MOST_S if asked_s is None else asked_s + _LEASE_ROUNDING_S
        expires_at = min(message.expires_at, message.at + most_s)  # nobody gives a longer lease than was asked for
        ends_at = self._clock.ends_at(expires_at, message.at, now)
        if expires_at < self.expires_at or ends_at < self.ends_at:
            return Extended()  # an answer that was overtaken, or that tells less than is known
        self.expires_at = expires_at
        self.ends_at = ends_at
        self._lease_s = max(self._lease_s, expires_at - message.at)  # a grant told again tells what is left
        self.renew_at = now + max(0.0, ends_at - now) * RENEW_SHARE
        return Extended()

    def _over(self, outcome: Decision) -> Decision:
        self.phase = Phase.OVER
        self.is_known_over = True
        return outcome

    def _fail(self, error: LockError) -> Decision:
        return self._over(Failed(error))

    def _lose(self, why: str) -> Decision:
        self.lose(why)
        return Lost(why)


def _why(message: ReleasedMessage | CancelledMessage) -> str:
    return message.reason if message.by is None else f"{message.reason} by {shorten(message.by)}"
