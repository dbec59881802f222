"""The decisions that follow from an answer, passed from the state of a call to the task that acts on them."""

from dataclasses import dataclass

from lockstore.errors import LockError

__all__ = ["Decision", "Extended", "Failed", "Lost", "Obtained", "Queued", "Resend", "Restart", "WrongPartition"]


@dataclass(frozen=True, slots=True)
class Queued:
    """The ticket is in line; the wait may now be known."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """The lease was granted."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Repeat the request with the same id: its answer was lost with the connection, or it was refused for now.

    `trouble`: why to pause before that; an empty text: repeat it at once.
    """

    trouble: str = ""


@dataclass(frozen=True, slots=True)
class WrongPartition:
    """Send the request again, to the partition that serves the conversation."""

    partitions: int


@dataclass(frozen=True, slots=True)
class Restart:
    """The request ended without a grant; `give_back` if a daemon may not know that."""

    give_back: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The call fails with this error."""

    error: LockError


@dataclass(frozen=True, slots=True)
class Extended:
    """The lease was extended."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease is lost; `why` completes "the lease ended: ..."."""

    why: str


Decision = Queued | Obtained | Resend | WrongPartition | Restart | Failed | Extended | Lost
