"""Logging: one line per event, as JSON unless on a terminal. Event names are constant; details are key-value pairs."""

import logging
import sys
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from daemon.monitoring.log_output import LogOutput
from lockstore.util.escaping import escape

__all__ = ["LogLevel", "set_up"]

LogLevel = Literal["debug", "info", "warning", "error"]

_LIBRARIES = ("aiormq", "aio_pika", "redis", "botocore", "opentelemetry", "asyncio")


class _Joined(logging.Handler):
    """Forward a library's warnings to our log, in our format."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            record.levelno, "library.message", logger=record.name, message=record.getMessage()
        )


def _escape(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Escape what is shown on a terminal: no value can move the cursor or imitate a log line."""
    return {key: value if key == "timestamp" else _escaped(key, value) for key, value in line.items()}


def _escaped(key: str, value: object) -> object:
    if isinstance(value, str) and key == "exception":
        return "\n".join(f"  {escape(text)}" for text in value.split("\n"))
    if value is None or isinstance(value, bool | int | float):
        return value
    return escape(value if isinstance(value, str) else repr(value))


def _tell_lost(output: LogOutput) -> structlog.typing.Processor:
    def add(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        lost, output.lost = output.lost, 0
        if lost:
            line["lines_lost"] = lost
        return line

    return add


def set_up(level: LogLevel) -> None:
    """Configure this process's log on standard error. Call once, at the start."""
    output = LogOutput(2)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _tell_lost(output),
            *((_escape, structlog.dev.ConsoleRenderer()) if terminal else (structlog.processors.JSONRenderer(),)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", output)),
        cache_logger_on_first_use=True,
    )
    handler = _Joined(logging.WARNING)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.addHandler(handler)
        library.propagate = False
