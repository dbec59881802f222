"""Ports on the loopback address that no other process of the harness has.

A port that was seen to be free is anybody's until a server listens on it, and again while that server restarts. So each
process takes whole blocks of ports for itself, as long as it lives.
"""

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"

BLOCK = 40  # ports
FIRST_PORT = 10_000
LAST_PORT = 32_767
LEAST_BLOCKS = 100  # where the kernel's own range leaves fewer, it cannot be helped
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_random = random.SystemRandom()  # runs side by side must not try the same blocks in the same order


class Ports:
    """Gives ports out of blocks that belong to this process alone."""

    def __init__(self, first: int, last: int) -> None:
        self._first = first
        self._last = last
        self._held: list[int] = []  # descriptors, one for each block
        self._ports = self._all()

    def take(self) -> int:
        """Give a port that nobody listens on, and that this process was not given before."""
        for port in self._ports:
            if _is_free(port):
                return port
        raise RuntimeError(f"no free port between {self._first} and {self._last}")

    def close(self) -> None:
        """Let other processes have the blocks; only when nothing uses the ports any more."""
        while self._held:
            os.close(self._held.pop())

    def _all(self) -> Iterator[int]:
        blocks = list(range(self._first, self._last + 2 - BLOCK, BLOCK))
        _random.shuffle(blocks)
        for first in blocks:
            if self._hold(first):
                yield from range(first, first + BLOCK)

    def _hold(self, block: int) -> bool:
        # A name in the abstract namespace has the same reach as a port, the network namespace; the kernel frees it when we end.
        # Our children do not inherit it.
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0lockstore-harness-ports-{block}")
        except OSError:
            held.close()
            return False
        self._held.append(held.detach())
        return True


def free_port() -> int:
    """Give a port that nobody listens on, and that no other process of the harness gets while this one lives."""
    return _ports.take()


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def outside(first_ephemeral: int, last_ephemeral: int) -> tuple[int, int]:
    """Give the range of our ports: beside those that the kernel gives to connections, which come and go while a server restarts."""
    below, above = (FIRST_PORT, min(LAST_PORT, first_ephemeral - 1)), (max(FIRST_PORT, last_ephemeral + 1), 65_535)
    for first, last in (below, above):
        if last + 1 - first >= LEAST_BLOCKS * BLOCK:
            return first, last
    return FIRST_PORT, LAST_PORT


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


_ports = Ports(*outside(*map(int, EPHEMERAL.read_text(encoding="ascii").split())))
