"""In environments as bots of today have them, with aiormq 6 and pamqp 3: the client's own tests run there.

The ordinary environment has aio-pika 10 with aiormq 7.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.packaging.conftest import CHECKOUT, Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

INTERNALS = (
    "tests/architecture/test_library_internals.py::test_aiormq_is_inside_as_we_use_it",
    "tests/architecture/test_library_internals.py::test_pamqp_is_inside_as_we_use_it",
)
AMQP = tuple(f"tests/amqp/test_{name}.py" for name in ("content_header", "frame_filter", "opening"))
# Left out: test_call, test_lease, test_replies and test_cancellation, which put a fake in the place of the whole connection, so
# that no code of aiormq's runs in them; they are a third of the time.
CLIENT = tuple(
    f"tests/client/test_{name}.py"
    for name in (
        "cancellation_with_daemon",
        "events",
        "holding",
        "hostile_messages",
        "obtaining",
        "other_loops",
        "other_tasks",
        "publisher",
        "with_daemon",
    )
)
# What differs between 6.8 and 6.9 is how a connection is opened and closed.
CLIENT_ENDS = tuple(f"tests/client/test_{name}.py" for name in ("cancellation_with_daemon", "events", "publisher"))


@pytest.mark.parametrize(
    ("pins", "tests"),
    [
        pytest.param("beside-aio-pika-9.txt", (*INTERNALS, *AMQP, *CLIENT), id="beside-aio-pika-9"),
        pytest.param("oldest-client.txt", (*INTERNALS, *AMQP, *CLIENT_ENDS), id="oldest"),
    ],
)
def test_the_clients_tests_pass_with_aiormq_6(
    pins: str,
    tests: Sequence[str],
    wheels: dict[str, Path],
    environment: Callable[[str], Environment],
    tmp_path: Path,
) -> None:
    bot = environment(pins)
    bot.pip("install", "--no-deps", "--no-index", wheels["lockstore"])
    bot.pip("check")
    argv = [bot.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", tmp_path / "pytest", *tests]
    # The daemon that some of them start is not part of this environment: it has its own.
    variables = {**os.environ, "LOCKSTORE_DAEMON_PYTHON": sys.executable}
    done = subprocess.run([*map(str, argv)], cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-15:]))
    assert done.returncode == 0, f"{done.stdout[-10_000:]}\n{done.stderr[-2000:]}"
