"""Ports that are free stay free until we use them, whoever else starts servers on this machine."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harness.ports import BLOCK, FIRST_PORT, LAST_PORT, LOOPBACK, Ports, free_port, outside

CHECKOUT = Path(__file__).parents[2]
FIRST = 9_000  # below those of the harness: nobody else asks for these blocks

OTHER = f"""
import sys
from harness.ports import Ports
ports = Ports({FIRST}, {FIRST + 2 * BLOCK - 1})
print(*(ports.take() for _ in range({BLOCK})), flush=True)
sys.stdin.read()
"""


@contextmanager
def other() -> Iterator[set[int]]:
    """Have another process take the ports of one block, out of two; it listens on none of them."""
    argv = [sys.executable, "-c", OTHER]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield {int(word) for word in process.stdout.readline().split()}
        process.kill()  # it cannot give anything back


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)


def test_a_port_that_another_process_was_given_is_not_given_though_nobody_listens_there_yet() -> None:
    with other() as theirs, closing(Ports(FIRST, FIRST + 2 * BLOCK - 1)) as ports:
        assert len(theirs) == BLOCK
        assert not theirs & {ports.take() for _ in range(BLOCK)}
        with pytest.raises(RuntimeError, match=f"no free port between {FIRST} and {FIRST + 2 * BLOCK - 1}"):
            ports.take()
    with closing(Ports(min(theirs), max(theirs))) as ports:
        assert ports.take() == min(theirs)


def test_a_port_on_which_somebody_listens_is_passed_over() -> None:
    first = FIRST + 2 * BLOCK
    with socket.create_server((LOOPBACK, first)), closing(Ports(first, first + BLOCK - 1)) as ports:
        assert ports.take() == first + 1


@pytest.mark.parametrize(
    ("ephemeral", "ours"),
    [
        ((32_768, 60_999), (FIRST_PORT, LAST_PORT)),
        ((20_000, 60_999), (FIRST_PORT, 19_999)),
        ((1_024, 49_999), (50_000, 65_535)),
        ((1_024, 65_535), (FIRST_PORT, LAST_PORT)),  # none is left
    ],
)
def test_ports_that_the_kernel_gives_to_connections_are_left_to_it(
    ephemeral: tuple[int, int], ours: tuple[int, int]
) -> None:
    assert outside(*ephemeral) == ours
