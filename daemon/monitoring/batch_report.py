"""The report on a finished batch, for counters and traces: one per batch, after its answers were sent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lockstore.stores.results import Notice

__all__ = ["BatchReport", "Observers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """A batch that was stored, published and acknowledged."""

    partition: int | None  # None: from the sweeper, without messages
    messages: int
    requests: int  # messages that request a ticket
    notices: Sequence[Notice]
    store_ms: float
    took_ms: float  # from taking the batch until the broker confirmed its events
    taken_ns: int  # since the Unix epoch, on this machine's clock
    unreachable: int = 0
    refused: int = 0
    decode_ms: float = 0.0  # before the store
    acknowledge_ms: float = 0.0  # after the broker's confirms
    redelivered: int = 0  # messages that RabbitMQ may have delivered before
    rejections: Sequence[str] = ()  # the reason of each
    dead_letters: Sequence[str] = ()  # the reason of each

    @property
    def announce_ms(self) -> float:
        """From the store's answer until the broker confirmed the events."""
        return self.took_ms - self.decode_ms - self.store_ms


class Observers:
    """The observers of finished batches."""

    def __init__(self, *observers: Callable[[BatchReport], None]) -> None:
        self._observers = list(observers)

    def add(self, observer: Callable[[BatchReport], None]) -> None:
        """Register an observer. It must not raise, and must be fast."""
        self._observers.append(observer)

    def notify(self, served: BatchReport) -> None:
        """Call all observers."""
        for observer in self._observers:
            observer(served)
