"""Logging: one line an event, JSON unless a terminal reads it. Event names are constant; what varies is key and value."""

import logging
import sys
from typing import Literal

import structlog

__all__ = ["LogLevel", "set_up"]

LogLevel = Literal["debug", "info", "warning", "error"]

_LIBRARIES = ("aiormq", "aio_pika", "redis", "botocore", "opentelemetry", "asyncio")


class _Joined(logging.Handler):
    """Bring a library's own warning into our log, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            record.levelno, "library.message", logger=record.name, message=record.getMessage()
        )


def set_up(level: LogLevel) -> None:
    """Send this process's log to standard error. Call once, at the start."""
    terminal = sys.stderr.isatty()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = _Joined(logging.WARNING)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.addHandler(handler)
        library.propagate = False
