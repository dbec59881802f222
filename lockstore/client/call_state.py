"""The state machine of one `lock()` call, from the request to the end of the lease. No I/O, no clock.

    WAITING ──granted──► HELD ──renewed──► HELD ──(end reported)──► OVER
       │
       └──(rejected, or end reported)──► OVER ──restart, under a new request id──► WAITING

All times (`now`, `sent_at`, ...) are on this process's monotonic clock, in seconds; times in messages are on the store's.
"""

from collections.abc import Callable
from enum import Enum

from lockstore.client.body_task import BodyTask
from lockstore.client.decisions import Changed, Decision, Failed, Obtained, Resend, Restart
from lockstore.client.lease import LeaseClock, margin_s
from lockstore.client.outbound import LockParams, OutboundMessage, is_release, release, renewal, request
from lockstore.client.replies import shorten
from lockstore.errors import BusyError, LockError, LockLostError, RefusedError, WaitExpiredError
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
"""How much longer than the wait the client waits for an answer: the daemon decides when a wait expires, and reports it."""

WAIT_UNSTATED_S = 300.0
"""The assumed wait if none was given, until a daemon reports it: the daemon's default."""

UNSTATED_MOST_S = 30 * 86_400.0
"""Longer waits and leases in answers are considered invalid, unless the caller asked for more."""

RENEW_SHARE = 1 / 3  # of the lease: leaves time for two more attempts
RENEW_RETRY_SHARE = 1 / 12  # of the lease: the interval of further attempts until one is answered or the lease is lost
RENEW_RETRY_MOST_S = 5.0
_LEASE_ROUNDING_S = 0.002  # the daemon counts in milliseconds, and a lease lasts at least one
_RENEWALS_REMEMBERED = 16  # renewals whose answers are still accepted


class Phase(Enum):
    """The phase of a call."""

    WAITING = "waiting"
    HELD = "held"
    OVER = "over"


class Call:
    """The state of one `lock()` call."""

    def __init__(self, params: LockParams, now: float, new_id: Callable[[], str]) -> None:
        self.params = params
        self.started_at = now
        wait_s = WAIT_UNSTATED_S if params.wait is None else params.wait
        self.deadline = now + min(wait_s, UNSTATED_MOST_S) + ANSWER_GRACE_S
        self.is_unguarded = False  # whether the task that entered has ended
        self.body = BodyTask()
        self.partition: int | None = None  # the partition that serves it, if not the computed one
        self._new_id = new_id
        self.is_heard = False  # whether any daemon has answered
        self._ever_asked = False
        self._wait_s = params.wait  # None: until a daemon reports the default
        self._begin()

    def _begin(self) -> None:
        self.phase = Phase.WAITING
        self.request_id = self._new_id()
        self.asked = False  # whether a daemon may know this request id
        self.is_known_over = False  # whether a daemon has reported the end of the ticket
        self.granted: GrantedMessage | None = None
        self.lost: str | None = None  # why the lease ended, once it has
        self.expires_at = 0.0  # on the store's clock
        self.ends_at = 0.0  # on our clock: the lease lasts at least until then
        self.renew_at = 0.0
        self.connection_number = 0  # the connection of the last request: answers go to its reply queue
        self._lease_s = 0.0
        self._clock = LeaseClock()
        self._asked_at = 0.0
        self._renewals: dict[str, float] = {}
        self._renewal_number = 0

    # --- what is sent ---------------------------------------------------------------------------------------------

    def ask(self, now: float, connection_number: int) -> OutboundMessage:
        """Create the request, to be sent on this connection."""
        if connection_number != self.connection_number or not self.asked:
            # The first one on each connection gives the daemon a new reply queue.
            self._asked_at = now
        self.connection_number = connection_number
        wait = self.params.wait
        if self._ever_asked and self._wait_s is not None:
            wait = max(0.0, self.started_at + self._wait_s - now)  # a repeated request does not extend the wait
        self.asked = self._ever_asked = True
        return request(self.params, self.request_id, wait, self.partition)

    def renew(self, now: float) -> OutboundMessage:
        """Create a renewal."""
        self._renewal_number += 1
        tag = str(self._renewal_number)
        self._renewals[tag] = now
        while len(self._renewals) > _RENEWALS_REMEMBERED:
            del self._renewals[next(iter(self._renewals))]
        self.renew_at = now + min(RENEW_RETRY_MOST_S, self._lease_s * RENEW_RETRY_SHARE)
        return renewal(self.params.conversation_id, self.request_id, self.number, tag, self.partition)

    def give_back(self) -> OutboundMessage:
        """Create the release. Later answers to this call are ignored."""
        self.phase = Phase.OVER
        # If the number is uncertain, only the request id is sent: both would have to match.
        number = self.granted.ticket_number if self.granted and self.lost is None else None
        return release(self.params.conversation_id, self.request_id, number, self.partition)

    # --- what is known --------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The ticket's number. Raises an error before the grant."""
        if self.granted is None:
            raise LookupError("not granted yet")
        return self.granted.ticket_number

    @property
    def safe_until(self) -> float:
        """The time by which the body must have stopped."""
        return self.ends_at - margin_s(self._lease_s)

    def wait_is_over(self, now: float) -> bool:
        """Return whether the caller's wait has passed, without the grace period."""
        wait_s = WAIT_UNSTATED_S if self.params.wait is None else self.params.wait
        return now >= self.started_at + wait_s

    def restart(self) -> None:
        """Start again under a new request id, with the rest of the wait."""
        self._begin()

    # --- what is heard --------------------------------------------------------------------------------------------

    def handle_answer(self, message: Outbound, tag: str, now: float) -> Decision | None:
        """Process an answer to this request id. Returns the resulting decision, None if there is nothing to do."""
        if is_release(tag):
            return None
        self.is_heard = True
        match self.phase:
            case Phase.WAITING:
                return self._handle_waiting(message, now) if not tag else None
            case Phase.HELD:
                return self._handle_held(message, tag, now)
            case Phase.OVER:
                return None

    def _handle_waiting(self, message: Outbound, now: float) -> Decision | None:  # noqa: PLR0911 - one return for each answer
        match message:
            case QueuedMessage():
                self._clock.sample(self._asked_at, message.at)
                if self.params.wait is None:
                    left_s = min(max(0.0, message.wait_until - message.at), UNSTATED_MOST_S)
                    self.deadline = now + left_s + ANSWER_GRACE_S
                    self._wait_s = self.deadline - ANSWER_GRACE_S - self.started_at
                return Changed()
            case GrantedMessage():
                return self._take(message, now)
            case RejectedMessage():
                return self._refused(message, now)
            case ExpiredMessage(phase="waiting"):
                return self._fail(WaitExpiredError("the wait expired before the grant"))
            case CancelledMessage(reason="requester" | "forced"):
                return self._fail(RefusedError("cancelled", f"the ticket was removed from the line: {_why(message)}"))
            case CancelledMessage() | ReleasedMessage() | ExpiredMessage():
                # It was granted and ended while no answer could reach us.
                return self._over(Restart())
            case RenewedMessage():
                return None

    def _take(self, message: GrantedMessage, now: float) -> Decision:
        self.granted = message
        self._clock.sample(self._asked_at, message.at)
        self._extend(message, now)
        if self.safe_until <= now:
            self.phase = Phase.OVER
            return Restart(give_back=True)  # it took so long to arrive that the lease has expired
        self.phase = Phase.HELD
        return Obtained()

    def _refused(self, message: RejectedMessage, now: float) -> Decision:
        match message.reason:
            case "wrong_partition" if message.partitions:
                return Resend(message.partitions)
            case "finished":
                return self._over(Restart())
            case "busy" if self.params.wait == 0:
                return self._fail(BusyError("the conversation is held"))
            case "busy" if self.wait_is_over(now):
                return self._fail(WaitExpiredError("the wait expired before the grant"))
            case "store_full" if self.params.wait != 0 and not self.wait_is_over(now):
                # The daemon does not remember the request, so it may be repeated.
                return Resend(trouble=f"store_full, {shorten(message.detail)}")
            case reason:
                return self._fail(RefusedError(reason, shorten(message.detail)))

    def _handle_held(self, message: Outbound, tag: str, now: float) -> Decision | None:  # noqa: PLR0911 - one return for each answer
        if tag and tag not in self._renewals:
            return None  # answers a renewal that was never sent, or has been answered already
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
                # Only a daemon that has lost the ticket issues another one for the same request.
                return self._lose("the daemon no longer knows the ticket")
            case RejectedMessage(reason="wrong_partition", partitions=int(partitions)):
                return Resend(partitions)
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
        """Record that the lease is lost: it expired, or the client is being closed."""
        if self.lost is None:
            self.lost = why
        self.phase = Phase.OVER

    def lost_error(self, otherwise: str) -> LockLostError:
        """Return the error for the body. `otherwise`: why the lease ended, if that was not recorded before."""
        why = self.lost or otherwise
        return LockLostError(f"ticket {self.number} of {self.params.conversation_id!r}: the lease ended: {why}")

    # --- steps ----------------------------------------------------------------------------------------------------

    def _extend(self, message: GrantedMessage | RenewedMessage, now: float) -> Decision:
        asked_s = self.params.lifetime
        most_s = UNSTATED_MOST_S if asked_s is None else asked_s + _LEASE_ROUNDING_S
        expires_at = min(message.expires_at, message.at + most_s)  # no daemon grants a longer lease than requested
        ends_at = self._clock.ends_at(expires_at, message.at, now)
        if expires_at < self.expires_at or ends_at < self.ends_at:
            return Changed()  # an outdated answer
        self.expires_at = expires_at
        self.ends_at = ends_at
        self._lease_s = max(self._lease_s, expires_at - message.at)  # a repeated grant only shows the remaining lease
        self.renew_at = now + max(0.0, ends_at - now) * RENEW_SHARE
        return Changed()

    def _over(self, decision: Decision) -> Decision:
        self.phase = Phase.OVER
        self.is_known_over = True
        return decision

    def _fail(self, error: LockError) -> Decision:
        return self._over(Failed(error))

    def _lose(self, why: str) -> Decision:
        self.lose(why)
        return Failed(self.lost_error(why))


def _why(message: ReleasedMessage | CancelledMessage) -> str:
    return message.reason if message.by is None else f"{message.reason} by {shorten(message.by)}"
