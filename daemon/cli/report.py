"""A command's report, which is printed however the command ends."""

import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import uvloop

from daemon.broker.connection import CONNECTION_ERRORS, as_config_error, innermost, say_what_ended
from daemon.cli.exit_codes import OK, PROBLEMS
from daemon.cli.output import print_error, print_json
from lockstore.errors import ConfigError, LockstoreError, StoreUnavailableError

__all__ = ["Report", "attempt", "carry_out", "conclude"]

_CHECK = "; run `lockstore check` for details"


@dataclass(kw_only=True)
class Report:
    """The base class of reports."""

    error: str | None = None
    """The error that ended the command, in one line."""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """Whether problems were found, or something remains to be done or could not be read."""
        return PROBLEMS if self.error is not None or self.interrupted else OK

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        raise NotImplementedError

    def say_end(self) -> None:
        """Print what was not already printed during the work."""
        raise NotImplementedError


def carry_out(command: str, report: Report, work: Coroutine[Any, Any, None], *, as_json: bool) -> int:
    """Do the work, print the result, and return the exit code. Raises ConfigError."""
    attempt(report, work)
    return conclude(command, report, as_json=as_json)


def attempt(report: Report, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and record the error that ended it. Raises ConfigError."""
    logging.getLogger().addHandler(logging.NullHandler())  # keeps libraries' log messages out of the output
    try:
        uvloop.run(work)
    except (KeyboardInterrupt, BaseExceptionGroup, LockstoreError, *CONNECTION_ERRORS) as error:
        _note(report, innermost(error))


def conclude(command: str, report: Report, *, as_json: bool) -> int:
    """Print the result, and return the exit code. With `as_json`, print a single object, including any error."""
    if as_json:
        print_json(report.as_dict() | {"interrupted": report.interrupted, "error": report.error})
    else:
        report.say_end()
        if report.error is not None:
            print_error(command, report.error)
    return report.exit_code


def _note(report: Report, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        report.interrupted = True
    elif isinstance(error, StoreUnavailableError):
        report.error = f"the lock store: {error}{_CHECK}"
    elif isinstance(error, CONNECTION_ERRORS):
        if (fault := as_config_error(error)) is not None:
            raise fault from None
        report.error = f"RabbitMQ: {say_what_ended(error)}{_CHECK}"
    elif isinstance(error, LockstoreError) and not isinstance(error, ConfigError):
        report.error = str(error)
    else:
        raise error
