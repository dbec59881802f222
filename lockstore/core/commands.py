"""What can be asked of a conversation's line. Numbers are ticket numbers; times are whole milliseconds."""

from dataclasses import dataclass

from lockstore.core.ticket import NO_SENDER, Sender

__all__ = [
    "BY_MAX",
    "Command",
    "Expire",
    "Finish",
    "ForceRelease",
    "Issue",
    "Release",
    "Renew",
    "Request",
    "Settle",
    "Withdraw",
]

BY_MAX = 128
"""Characters of the name under which an operator acts; as many as a holder's."""


@dataclass(frozen=True, slots=True)
class Request:
    """A ticket, please: a place in line for at most `wait_ms`, then a lease of `lifetime_ms` from the grant on."""

    conversation_id: str
    request_id: str
    lifetime_ms: int
    wait_ms: int
    holder: str | None = None
    sender: Sender = NO_SENDER


@dataclass(frozen=True, slots=True)
class Release:
    """The requester is done: with the lease, or with waiting. `number` or `request_id`; where both are given, both match."""

    conversation_id: str
    number: int | None = None
    request_id: str | None = None
    sender: Sender = NO_SENDER


@dataclass(frozen=True, slots=True)
class Renew:
    """The lease starts anew now. `lifetime_ms` None: as long as the request asked for."""

    conversation_id: str
    number: int | None = None
    request_id: str | None = None
    lifetime_ms: int | None = None
    sender: Sender = NO_SENDER


@dataclass(frozen=True, slots=True)
class Expire:
    """This ticket's deadline came. Changes nothing when it did not (it was renewed, or the caller's clock is ahead)."""

    conversation_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The reply queue is gone. Changes nothing when the ticket has another one by now (its replica reconnected)."""

    conversation_id: str
    number: int
    reply_to: str


@dataclass(frozen=True, slots=True)
class ForceRelease:
    """An operator takes the lease away from its holder; with a `number`, takes that ticket out, wherever it stands.

    `by` says who does it, 1 to 128 printable characters, and is told to everybody. Without a number it is not safe to
    repeat: the second one takes the next holder's lease. Raises ValueError when `by` is none such.
    """

    conversation_id: str
    by: str
    number: int | None = None

    def __post_init__(self) -> None:
        if not (0 < len(self.by) <= BY_MAX and self.by.isprintable()):
            message = f"by: must be 1 to {BY_MAX} printable characters, not {self.by!r}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Issue:
    """Direct use, as Rasa's: a ticket whose lifetime counts from now, wherever it stands in line.

    `mark`: by what it may be found if the reply is lost, where the store can keep that with the ticket.
    """

    conversation_id: str
    lifetime_ms: int
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """Direct use: this direct ticket is done with. Never touches a ticket of the daemon's."""

    conversation_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Nothing in particular: end what is overdue at the head of the line and grant the next."""

    conversation_id: str


Command = Request | Release | Renew | Expire | Withdraw | ForceRelease | Issue | Finish | Settle
