"""The identity of this process, as shown to operators."""

import getpass
import os
import socket

from lockstore.util.escaping import escape

__all__ = ["default_holder_name", "our_process"]

_NAME_MAX = 128  # characters, docs/protocol.md


def default_holder_name() -> str:
    """Return user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        user = str(os.getuid())
    return escape(f"{user}@{socket.gethostname()}")[:_NAME_MAX]


def our_process() -> str:
    """Return user@host:pid."""
    pid = f":{os.getpid()}"
    return default_holder_name()[: _NAME_MAX - len(pid)] + pid
