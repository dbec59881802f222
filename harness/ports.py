"""Free ports on the loopback address."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below Linux' ephemeral ports (32768 and up), so that no client's connection takes a port while its server restarts; and low
# enough that a Redis Cluster's bus port (10000 higher) is below them as well.
FIRST_PORT = 10_000
LAST_PORT = 19_999
TRIES = 1_000

_given: set[int] = set()
_random = random.SystemRandom()  # runs side by side must not try the same ports in the same order


def free_port() -> int:
    """Give a port that nobody listens on and that this process was not given before."""
    for _ in range(TRIES):
        port = _random.randint(FIRST_PORT, LAST_PORT)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
