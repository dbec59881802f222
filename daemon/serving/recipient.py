"""One recipient: a reply queue, or the public copies of one conversation; what is outstanding there, and what is held back."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lockstore.util.backoff import Backoff

__all__ = ["LATE_S", "REPLY_WINDOW", "REPLY_WINDOW_MOST", "Copy", "Lane", "LaneName", "Outlet", "Owner", "Recipient"]

LATE_S = 0.1
"""A recipient whose oldest message has no answer for so long is late: no batch waits for its confirms."""

REPLY_WINDOW = 31  # a quorum queue with 32 commands that it has not confirmed blocks the whole channel that feeds it
REPLY_WINDOW_MOST = 496  # while a queue confirms at once, more are under way with each round: many may share a queue

LaneName = Literal["reply", "public"]


class Owner(Protocol):
    """Whose message it is, and who hears what becomes of it."""

    def finished(self, copy: "Copy", error: Exception | None) -> None:
        """Hear, once, that it is told, or given up."""

    def refused(self, copy: "Copy") -> None:
        """Hear that the broker has refused it, and that it is tried again."""


class Outlet(Protocol):
    """The channels that a message may take."""

    def has_room(self, recipient: "Recipient", now: float) -> bool:
        """Tell whether one more may be sent, as far as the channels are concerned."""

    def take(self, copy: "Copy", now: float) -> None:
        """Choose the way of a message that is about to be sent."""

    def answered(self, copy: "Copy", error: Exception | None, now: float) -> Iterable["Recipient"]:
        """Take RabbitMQ's answer, and give the recipients for whom there is room now."""

    def wait(self, recipient: "Recipient") -> None:
        """Have a recipient wait for room."""


@dataclass(slots=True, eq=False)
class Copy:
    """One message for one recipient: the reply, or what the public is told."""

    payload: Any  # encoded for the channel of its outlet
    outlet: "Outlet"
    lane: LaneName
    name: str  # of the recipient
    sequence: int
    owner: "Owner"
    useless_at: float = float("inf")  # nobody needs to hear it after this moment
    state: Literal["new", "sent", "held", "final", "done"] = "new"
    is_listed: bool = False
    recipient: "Recipient | None" = None
    route: Any = None  # the publisher that it goes to
    attempt: int = 0  # of those who sent it, only the last one's answer counts


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
