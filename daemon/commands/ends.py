"""How a command ends: the exit codes, and what is wrong with the configuration as one line."""

from collections.abc import Callable
from typing import NoReturn

import typer

__all__ = ["BAD_CONFIGURATION", "DONE", "LEFT", "end"]

DONE = 0
LEFT = 1
"""Something is wrong, or is left to do."""

BAD_CONFIGURATION = 2
"""Also what a wrong command line ends with; systemd does not restart on it."""


def end(command: str, work: Callable[[], int]) -> NoReturn:
    """Do a command's work and end with the exit code that it gives; a ConfigError is told in one line."""
    from daemon.commands.printing import complain
    from lockstore.errors import ConfigError

    try:
        code = work()
    except ConfigError as error:
        complain(command, str(error))
        code = BAD_CONFIGURATION
    except BrokenPipeError:  # whoever reads the output has seen enough
        code = LEFT
    raise typer.Exit(code)
