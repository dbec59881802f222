"""What an answer can mean for a call: the words between the pure state of a call and the tasks that act on it."""

from dataclasses import dataclass

from lockstore.errors import LockError

__all__ = ["Decision", "Extended", "Failed", "Lost", "Obtained", "Queued", "Resend", "Restart", "WrongPartition"]


@dataclass(frozen=True, slots=True)
class Queued:
    """In line; the call's deadline may have become known."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """It is this call's turn."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Ask again with the same request id: this answer will not come (the connection was lost)."""


@dataclass(frozen=True, slots=True)
class WrongPartition:
    """Another partition serves the conversation: send it again, there."""

    partitions: int


@dataclass(frozen=True, slots=True)
class Restart:
    """This request id is over without a turn; `give_back` if the daemon does not know that."""

    give_back: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no turn."""

    error: LockError


@dataclass(frozen=True, slots=True)
class Extended:
    """The lease ends later now."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease is over; `why` completes "the lease ended: ..."."""

    why: str


Decision = Queued | Obtained | Resend | WrongPartition | Restart | Failed | Extended | Lost
