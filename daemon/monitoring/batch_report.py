"""What is told of a batch when it is done with, for counts and metrics: one call for each, off the way of its answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lockstore.stores.results import Notice

__all__ = ["BatchReport", "Observers"]


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch that was stored, announced and let go of."""

    partition: int | None  # None: the sweeper's, which no message asked for
    messages: int
    requests: int  # of the messages, those that ask for a ticket
    notices: Sequence[Notice]
    store_ms: float
    took_ms: float  # from when the batch was taken until the broker had confirmed all that was said
    taken_ns: int  # since the epoch, by this machine's clock
    unreachable: int = 0
    refused: int = 0
    decode_ms: float = 0.0  # before the store
    acknowledge_ms: float = 0.0  # after the broker's confirms
    redelivered: int = 0  # of the messages, those that RabbitMQ may have delivered before
    rejections: Sequence[str] = ()  # the reason of each
    dead_letters: Sequence[str] = ()  # likewise

    @property
    def announce_ms(self) -> float:
        """From when the store had answered until the broker had confirmed all that was said."""
        return self.took_ms - self.decode_ms - self.store_ms


class Observers:
    """Who wants to know."""

    def __init__(self, *observers: Callable[[BatchReport], None]) -> None:
        self._observers = list(observers)

    def add(self, observer: Callable[[BatchReport], None]) -> None:
        """Have one more told. It must not raise, and not take long."""
        self._observers.append(observer)

    def notify(self, served: BatchReport) -> None:
        """Tell all."""
        for observer in self._observers:
            observer(served)
