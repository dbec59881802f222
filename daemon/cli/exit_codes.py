"""How a command ends: the exit codes, and what is wrong with the configuration as one line."""

import errno
import os
from collections.abc import Callable
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
"""Something is wrong, or is left to do."""

BAD_CONFIGURATION = 2
"""Also what a wrong command line ends with; systemd does not restart on it."""

OVERDUE = 3
"""A daemon that was told to stop did not get there within its limit; what is left is delivered again."""

# Those of `exec` beside the command's own, as `timeout`, `env` and shells have them; 75 is EX_TEMPFAIL of sysexits.h.
LOST = 75
BUSY = 124
FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNALLED = 128
"""And the number of the signal."""


def end(command: str, work: Callable[[], int]) -> NoReturn:
    """Do a command's work and end with the exit code that it gives; a ConfigError is told in one line.

    What could not be printed was the purpose of the command, so then the exit code is at least 1.
    """
    code = _code_of(command, work)
    is_lost = _complain_of_lost_output(command)
    raise typer.Exit(PROBLEMS if is_lost and code == OK else code)


def end_of_change(command: str, work: Callable[[], int]) -> NoReturn:
    """Do the same for a command that changes something: its exit code says what was done, printed or not."""
    code = _code_of(command, work)
    _complain_of_lost_output(command)
    raise typer.Exit(code)


def _code_of(command: str, work: Callable[[], int]) -> int:
    from daemon.cli.output import print_error
    from lockstore.errors import ConfigError

    try:
        return work()
    except ConfigError as error:
        print_error(command, str(error))
        return BAD_CONFIGURATION


def _complain_of_lost_output(command: str) -> bool:
    from daemon.cli.output import print_error
    from daemon.cli.streams import lost_output

    error = lost_output()
    if error is not None and error.errno != errno.EPIPE:  # whoever reads has seen enough, as `head` does
        print_error(command, f"standard output cannot be written: {os.strerror(error.errno or 0)}")
    return error is not None
