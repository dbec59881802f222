"""What a history is made of: messages that were published, messages that were heard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ENDS", "PUBLIC", "Heard", "History", "Published", "ms"]

PUBLIC = "public"
"""The listener that heard every public event."""

ENDS = ("released", "expired", "cancelled")
"""The types of events that end a ticket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A message that somebody published.

    `place` rises along a channel in the order of publishing. `sent_at` and `confirmed_at` are seconds on one clock for the whole
    history; without a confirmation it is not known whether the broker has the message. `correlation` belongs to this message
    alone, except that a request published again keeps its own. `lifetime` and `wait` are seconds, None where absent.
    """

    channel: str
    place: int
    kind: str
    conversation: str
    correlation: str
    sent_at: float
    request_id: str | None = None
    number: int | None = None
    reply_to: str | None = None
    lifetime: float | None = None
    wait: float | None = None
    confirmed_at: float | None = None

    def __str__(self) -> str:
        named = " ".join(
            f"{name}={value}"
            for name, value in (("request_id", self.request_id), ("ticket_number", self.number))
            if value is not None
        )
        confirmed = "never confirmed" if self.confirmed_at is None else f"confirmed {self.confirmed_at:.6f}"
        return (
            f"published {self.channel}#{self.place}: {self.kind} {self.conversation} {named}"
            f" (sent {self.sent_at:.6f}, {confirmed})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message that a listener heard: an answer, or a public event."""

    listener: str
    message_id: str
    correlation: str | None
    heard_at: float
    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its type."""
        return str(self.body["type"])

    @property
    def conversation(self) -> str:
        """Whose line it is about; empty where the daemon could not tell."""
        return self.body["conversation_id"] or ""

    @property
    def number(self) -> int | None:
        """The ticket, if there is one."""
        number: int | None = self.body["ticket_number"]
        return number

    @property
    def request_id(self) -> str | None:
        """The request, if there is one."""
        request_id: str | None = self.body["request_id"]
        return request_id

    @property
    def at_ms(self) -> int:
        """When it happened, on the store's clock."""
        return ms(self.body["at"])

    @property
    def is_public(self) -> bool:
        """Whether it is a public copy."""
        return self.listener == PUBLIC

    def __str__(self) -> str:
        return f"heard by {self.listener} ({self.heard_at:.6f}): {dict(self.body)} message_id={self.message_id}"


@dataclass(frozen=True, slots=True)
class History:
    """Everything that was recorded, from the first message on and until all that was asked for should be over.

    `published` has the messages of one channel in their order, `heard` those of one listener in the order of arrival. Listeners
    in `gone` were not there all the time. With `direct_use`, tickets may stand in the lines that nobody told of.
    """

    published: Sequence[Published]
    heard: Sequence[Heard]
    gone: frozenset[str] = frozenset()
    direct_use: bool = False


def ms(seconds: float) -> int:
    """Give a time or a span of the protocol in whole milliseconds, as which it began."""
    return round(seconds * 1000)
