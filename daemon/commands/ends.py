"""How a command ends: the exit codes, and what is wrong with the configuration as one line."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

__all__ = [
    "BAD_CONFIGURATION",
    "BUSY",
    "DONE",
    "FAILED",
    "LEFT",
    "LOST",
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "SIGNALLED",
    "end",
]

DONE = 0
LEFT = 1
"""Something is wrong, or is left to do."""

BAD_CONFIGURATION = 2
"""Also what a wrong command line ends with; systemd does not restart on it."""

# Those of `exec` beside the command's own, as `timeout`, `env` and shells have them; 75 is EX_TEMPFAIL of sysexits.h.
LOST = 75
BUSY = 124
FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNALLED = 128
"""And the number of the signal."""


def end(command: str, work: Callable[[], int]) -> NoReturn:
    """Do a command's work and end with the exit code that it gives; a ConfigError is told in one line."""
    from daemon.commands.plain import complain
    from lockstore.errors import ConfigError

    try:
        code = work()
    except ConfigError as error:
        complain(command, str(error))
        code = BAD_CONFIGURATION
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's end would complain
        code = LEFT
    raise typer.Exit(code)
