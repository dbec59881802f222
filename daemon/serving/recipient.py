"""A recipient: a reply queue, or the public copies of one conversation, with its outstanding and held-back messages."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lockstore.util.backoff import Backoff

__all__ = ["LATE_S", "REPLY_WINDOW", "REPLY_WINDOW_MOST", "Copy", "Lane", "LaneName", "Outlet", "Owner", "Recipient"]

LATE_S = 0.1
"""A recipient without an answer for this long is late: no batch waits for its confirms."""

REPLY_WINDOW = 31  # a quorum queue with 32 unconfirmed commands blocks the whole channel that publishes to it
REPLY_WINDOW_MOST = 496  # for a queue that many requests share: the window grows while confirms come at once

LaneName = Literal["reply", "public"]


class Owner(Protocol):
    """The owner of a message, notified of its outcome."""

    def finished(self, copy: "Copy", error: Exception | None) -> None:
        """Record the outcome: called once, when the message was delivered or given up."""

    def refused(self, copy: "Copy") -> None:
        """Record that the broker has refused the message; it is retried."""


class Outlet(Protocol):
    """The channels on which a message can be published."""

    def has_room(self, recipient: "Recipient", now: float) -> bool:
        """Return whether the channels have room for one more message."""

    def take(self, copy: "Copy", now: float) -> None:
        """Choose the channel of a message that is about to be published."""

    def answered(self, copy: "Copy", error: Exception | None, now: float) -> Iterable["Recipient"]:
        """Process RabbitMQ's answer. Returns the recipients that have room now."""

    def wait(self, recipient: "Recipient") -> None:
        """Register a recipient that waits for room."""


@dataclass(slots=True, eq=False)
class Copy:
    """One message for one recipient: a reply, or a public event."""

    payload: Any  # encoded for the channel of its outlet
    outlet: "Outlet"
    lane: LaneName
    name: str  # of the recipient
    sequence: int
    owner: "Owner"
    useless_at: float = float("inf")  # not worth delivering after this moment
    state: Literal["new", "sent", "held", "final", "done"] = "new"
    is_listed: bool = False
    recipient: "Recipient | None" = None
    route: Any = None  # the publisher it is sent with
    attempt: int = 0  # only an answer to the last attempt counts


@dataclass(slots=True, eq=False)
class Lane:
    """All recipients of one kind. They share a window, in addition to their own."""

    name: LaneName
    window: int
    outstanding: int = 0
    waiting: deque["Recipient"] = field(default_factory=deque)  # have a backlog; the lane had no room


@dataclass(slots=True, eq=False)
class Recipient:
    """A reply queue, or the public copies of one conversation."""

    lane: Lane
    name: str
    window: int
    outstanding: int = 0
    answered_at: float = 0.0  # time of the last answer, or since when the first message has been outstanding
    backlog: list[tuple[int, Copy]] = field(default_factory=list)  # a heap, ordered like the events
    allowed: int = 0  # after a refusal one message at a time, then gradually more
    retry_at: float = 0.0
    refused_at: float | None = None
    backoff: Backoff | None = None
    is_known: bool = True

    def is_late(self, now: float, limit_s: float = LATE_S) -> bool:
        """Return whether an answer has been outstanding for longer than `limit_s`."""
        return self.outstanding > 0 and now - self.answered_at > limit_s

    def widen(self, now: float) -> None:
        """Adapt the window to an answer: grow it if the answer came at once and messages are held back, else reset it."""
        if self.is_late(now):
            self.allowed = min(self.allowed, self.window)
        elif self.backlog and self.backoff is None and self.lane.name == "reply":
            self.allowed = min(self.allowed + 1, REPLY_WINDOW_MOST)

    @property
    def troubled_at(self) -> float:
        """The time of the first refusal, or of the last answer."""
        return self.answered_at if self.refused_at is None else self.refused_at

    def has_room(self, now: float) -> bool:
        """Return whether one more message may be sent."""
        return self.outstanding < self.allowed and self.retry_at <= now
