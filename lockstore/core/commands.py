"""The commands on a conversation's line. Numbers are ticket numbers; times are whole milliseconds."""

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
"""The longest name of an operator, in characters; the same limit as for a holder."""


@dataclass(frozen=True, slots=True)
class Request:
    """Request a ticket: wait in line for at most `wait_ms`, then hold a lease of `lifetime_ms` from the grant."""

    conversation_id: str
    request_id: str
    lifetime_ms: int
    wait_ms: int
    holder: str | None = None
    sender: Sender = NO_SENDER


@dataclass(frozen=True, slots=True)
class Release:
    """End the lease, or stop waiting. By `number` or `request_id`; if both are given, both must match."""

    conversation_id: str
    number: int | None = None
    request_id: str | None = None
    sender: Sender = NO_SENDER


@dataclass(frozen=True, slots=True)
class Renew:
    """Restart the lease from now. `lifetime_ms` None: the lifetime of the request."""

    conversation_id: str
    number: int | None = None
    request_id: str | None = None
    lifetime_ms: int | None = None
    sender: Sender = NO_SENDER


@dataclass(frozen=True, slots=True)
class Expire:
    """End this ticket if its deadline has passed. Otherwise (it was renewed, or the caller's clock is ahead) do nothing."""

    conversation_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Cancel this ticket because its reply queue is gone. Does nothing if it has another one by now (its replica reconnected)."""

    conversation_id: str
    number: int
    reply_to: str


@dataclass(frozen=True, slots=True)
class ForceRelease:
    """End the holder's lease on behalf of an operator; with a `number`, remove that ticket, wherever it is in the line.

    `by` names the operator, 1 to 128 printable characters, and is published. Without a number it is not safe to repeat: the
    second command ends the next holder's lease. Raises ValueError if `by` is invalid.
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
    """Direct use, as in Rasa: issue a ticket whose lifetime starts now, whatever its place in line.

    `mark`: identifies the ticket if the reply is lost, in stores that can keep it with the ticket.
    """

    conversation_id: str
    lifetime_ms: int
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """Direct use: remove this direct ticket. Never touches a ticket of the daemon."""

    conversation_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Settle:
    """End overdue tickets at the head of the line and grant the next, nothing else."""

    conversation_id: str


Command = Request | Release | Renew | Expire | Withdraw | ForceRelease | Issue | Finish | Settle
