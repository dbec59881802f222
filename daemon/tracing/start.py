"""Enables tracing. Only this module checks whether OpenTelemetry is installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from daemon.monitoring.batch_report import BatchReport
from lockstore.errors import ConfigError
from lockstore.protocol.naming import Names

__all__ = ["spans_of"]


@contextmanager
def spans_of(names: Names) -> Iterator[Callable[[BatchReport], None]]:
    """Yield an observer that creates spans and sends them in the background. Raises ConfigError."""
    try:
        from daemon.tracing.export import exported  # noqa: PLC0415 - the extra may not be installed
        from daemon.tracing.spans import Spans  # noqa: PLC0415 - likewise
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"daemon.tracing: OpenTelemetry is not installed (no module {error.name}); "
            "pip install 'lockstore-daemon[otel]', or WITH=otel make install"
        ) from None
    with exported() as tracer:
        yield Spans(tracer, names).served
