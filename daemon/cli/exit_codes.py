"""The exit codes of commands, and their one-line error messages."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import typer

__all__ = [
    "BAD_CONFIGURATION",
    "BUSY",
    "FAILED",
    "LOST",
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "OK",
    "OVERDUE",
    "PROBLEMS",
    "SIGNALLED",
    "end",
    "end_of_change",
]

OK = 0
PROBLEMS = 1
"""Problems were found, or something remains to be done."""

BAD_CONFIGURATION = 2
"""Also the exit code of a wrong command line; systemd does not restart the daemon after it."""

OVERDUE = 3
"""A daemon did not stop within its limit; unfinished messages are redelivered."""

# Those of `exec`, besides the command's own, as in `timeout`, `env` and shells; 75 is EX_TEMPFAIL of sysexits.h.
LOST = 75
BUSY = 124
FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNALLED = 128
"""Plus the number of the signal."""


def end(command: str, work: Callable[[], int], config: Path | None = None) -> NoReturn:
    """Run a command and exit with its exit code; a ConfigError is printed in one line, with the place in its file.

    Output is the purpose of the command, so if it could not be written, the exit code is at least 1.
    """
    code = _code_of(command, work, config)
    is_lost = _complain_of_lost_output(command)
    raise typer.Exit(PROBLEMS if is_lost and code == OK else code)


def end_of_change(command: str, work: Callable[[], int], config: Path | None = None) -> NoReturn:
    """Do the same for a command that changes something: its exit code does not depend on its output."""
    code = _code_of(command, work, config)
    _complain_of_lost_output(command)
    raise typer.Exit(code)


def _code_of(command: str, work: Callable[[], int], config: Path | None) -> int:
    from daemon.cli.output import print_error
    from daemon.config.location import with_location
    from lockstore.errors import ConfigError

    try:
        return work()
    except ConfigError as error:
        print_error(command, with_location(str(error), config))
        return BAD_CONFIGURATION


def _complain_of_lost_output(command: str) -> bool:
    from daemon.cli.output import print_error
    from daemon.cli.streams import lost_output

    error = lost_output()
    if error is not None and error.errno != errno.EPIPE:  # the reader has closed the pipe on purpose, as `head` does
        print_error(command, f"standard output cannot be written: {os.strerror(error.errno or 0)}")
    return error is not None
