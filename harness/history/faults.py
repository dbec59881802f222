"""What must not happen, by name."""

from dataclasses import dataclass
from enum import StrEnum

from harness.history.records import Heard, Published

__all__ = ["Fault", "FaultKind"]


class FaultKind(StrEnum):
    """The kinds of faults."""

    INVERSION = "inversion"  # numbered in another order than published, or granted in another than numbered
    OVERLAP = "overlap"  # two leases of a conversation at one time
    LOST = "lost"  # a request without an end, an event or an answer that never came
    DOUBLED = "doubled"  # two of what there may be one of
    NOT_RISING = "not rising"  # a higher number was issued before a lower one
    CONTRADICTION = "contradiction"  # events that cannot all be true


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and the messages that prove it."""

    kind: FaultKind
    conversation: str
    text: str
    proof: tuple[Published | Heard, ...]

    def __str__(self) -> str:
        return "\n    ".join([f"{self.kind}: {self.conversation}: {self.text}", *map(str, self.proof)])
