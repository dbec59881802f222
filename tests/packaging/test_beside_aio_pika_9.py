"""In environments as bots of today have them, with aiormq 6 and pamqp 3: the client's own tests run there.

The ordinary environment has aio-pika 10 with aiormq 7. The tests are copied to a folder without the packages, so that what they
import is what the wheel brought.
"""

import os
import shlex
import shutil
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
AMQP = (
    "tests/amqp/test_closing_channels.py",
    "tests/amqp/test_opening.py",
    "tests/unit/amqp/test_channel_numbers.py",
    "tests/unit/amqp/test_content_header.py",
    "tests/unit/amqp/test_frame_filter.py",
)
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


WITNESS = """
import sys
from pathlib import Path

import lockstore

HOME = Path(lockstore.__file__).parent


def pytest_terminal_summary(terminalreporter):
    strays = [
        name for name, module in sys.modules.items()
        if name.partition(".")[0] == "lockstore" and HOME not in Path(module.__file__ or HOME / "none").parents
    ]
    terminalreporter.write_line(f"lockstore was imported from {HOME}, {strays} from elsewhere")
"""
"""A conftest.py that tells where lockstore's modules came from, at the end, when all that the tests need is imported."""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Copy the tests and what they use, without the packages under test."""
    folder = tmp_path / "tests-alone"
    for name in ("tests", "harness"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    (folder / "conftest.py").write_text(WITNESS)
    return folder


@pytest.fixture
def daemons_python(tmp_path: Path) -> Path:
    """Give what runs a daemon for the client's tests: the checkout's, with the packages of this environment."""
    script = tmp_path / "daemons-python"
    path = f"PYTHONPATH={shlex.quote(str(CHECKOUT))}:$PYTHONPATH"
    script.write_text(f'#!/bin/sh\n{path} exec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    return script


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
    copied: Path,
    daemons_python: Path,
) -> None:
    bot = environment(pins)
    bot.pip("install", "--no-deps", "--no-index", wheels["lockstore"])
    bot.pip("check")
    argv = [bot.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", copied / "tmp", *tests]
    # The daemon that some of them start is not part of this environment: it has its own.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["LOCKSTORE_DAEMON_PYTHON"] = str(daemons_python)
    done = subprocess.run([*map(str, argv)], cwd=copied, env=variables, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-15:]))
    assert done.returncode == 0, f"{done.stdout[-10_000:]}\n{done.stderr[-2000:]}"
    assert f"lockstore was imported from {bot.packages / 'lockstore'}, [] from elsewhere" in done.stdout
