"""Logging: one line per event, as JSON unless on a terminal. Event names are constant; details are key-value pairs."""

import atexit
import logging
import sys
from dataclasses import dataclass
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from daemon.monitoring.log_output import LogOutput
from lockstore.util.escaping import escape

__all__ = ["LogLevel", "drain", "lines_lost", "redirect_stderr", "set_up"]

LogLevel = Literal["debug", "info", "warning", "error"]


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


class _Logger:
    """Writes what was rendered. structlog's own takes a lock that a signal handler would wait for, for ever."""

    def __init__(self, output: LogOutput) -> None:
        self._output = output

    def msg(self, line: str) -> None:
        """Write one line."""
        self._output.write(line + "\n")

    debug = info = warning = error = msg


@dataclass(slots=True)
class _Log:
    output: LogOutput | None = None  # of this process, once the log is set up


_process = _Log()


def set_up(level: LogLevel) -> None:
    """Configure this process's log on standard error. Call once, at the start."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        *((_escape, structlog.dev.ConsoleRenderer()) if is_terminal else (structlog.processors.JSONRenderer(),)),
    ]

    rendered = structlog.wrap_logger(
        structlog.ReturnLogger(), processors, structlog.make_filtering_bound_logger(logging.WARNING)
    )

    def describe_loss(lines: int) -> str:
        return f"{rendered.warning('log.lines_lost', lines=lines)}\n"

    output = LogOutput(2, describe_loss, sys.stderr.encoding if is_terminal else "utf-8")
    _process.output = output
    atexit.register(output.drain)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Logger(output),
        cache_logger_on_first_use=True,
    )
    logging.getLogger().addHandler(_Joined(logging.WARNING))


def redirect_stderr() -> None:
    """Redirect Python's warnings, and all other output on standard error, to the log's output, which cannot block."""
    if _process.output is not None:
        sys.stderr = _process.output.as_file()


def drain() -> None:
    """Wait a moment for lines that are not written yet. The end of the process does so unless it is by `os._exit`."""
    if _process.output is not None:
        _process.output.drain()


def lines_lost() -> int:
    """Count the lines that were dropped since the start."""
    return 0 if _process.output is None else _process.output.lines_lost
