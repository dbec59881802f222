"""The identity of this process, as shown to operators."""

import getpass
import os
import socket
from functools import cache

from lockstore.util.escaping import escape

__all__ = ["our_process", "our_user"]

_NAME_MAX = 128  # characters of a holder, docs/protocol.md


def our_user() -> str:
    """Return user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        user = str(os.getuid())
    return escape(f"{user}@{socket.gethostname()}")[:_NAME_MAX]


def our_process() -> str:
    """Return user@host:pid."""
    return _process(os.getpid())


@cache
def _process(number: int) -> str:
    pid = f":{number}"
    return our_user()[: _NAME_MAX - len(pid)] + pid
