"""Addresses at which nothing answers, each in its own way."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from harness.ports import free_port


@contextmanager
def mute() -> Iterator[str]:
    """Take TCP connections, as the kernel does for a process that is stopped, and never say anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def dropping() -> Iterator[str]:
    """Take no TCP connection, and refuse none, as a machine that is off does: the queue of those to be taken is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filling = stack.enter_context(socket.socket())
            filling.settimeout(0)
            filling.connect_ex(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def refusing() -> str:
    """Give an address at which nothing listens."""
    return f"127.0.0.1:{free_port()}"
