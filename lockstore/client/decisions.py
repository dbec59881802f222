"""The decisions that follow from an answer, passed from the state of a call to the task that acts on them."""

from dataclasses import dataclass

from lockstore.errors import LockError

__all__ = ["Changed", "Decision", "Failed", "Obtained", "Resend", "Restart"]


@dataclass(frozen=True, slots=True)
class Changed:
    """The end of the wait, or of the lease, may have changed."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """The lease was granted."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the request again with the same id.

    `partitions`: it went to the wrong partition, since there are this many. `trouble`: it was refused for now; the reason to
    pause first. Neither: its answer was lost with the connection.
    """

    partitions: int | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """The request ended without a grant; `give_back` if a daemon may not know that."""

    give_back: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The call fails with this error: it is not granted, or its lease is lost."""

    error: LockError


Decision = Changed | Obtained | Resend | Restart | Failed
