"""In environments as bots have them: the wheel is installed beside the packages that Rasa pins, and the client's own tests run.

The tests are copied to a folder without the packages under test, so that what they import is what the wheel brought. Of each
environment those are run that have to do with what is old or missing there.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.conftest import CHECKOUT, Environment, Maker, find_python, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

INTERNALS = (
    "tests/architecture/test_library_internals.py::test_aiormq_is_inside_as_we_use_it",
    "tests/architecture/test_library_internals.py::test_pamqp_is_inside_as_we_use_it",
)
AMQP = (
    "tests/amqp/test_closing_channels.py",
    "tests/amqp/test_opening.py",
    "tests/amqp/test_server_name.py",
    "tests/unit/amqp/test_channel_numbers.py",
    "tests/unit/amqp/test_frame_filter.py",
)
CANCELLATION = (
    "tests/unit/util/test_timeouts.py",
    "tests/client/test_cancellation_with_daemon.py",
)
# Every step of a call, in an event loop that has no `Task.cancelling`; some of its tests, because there are minutes of them.
EVERY_STEP = tuple(
    f"tests/unit/client/test_cancellation.py::test_a_{name}"
    for name in (
        "cancellation_at_any_step_gives_everything_back[again=None-busy]",
        "cancellation_at_any_step_gives_everything_back[again=2-free]",
        "grant_in_the_same_step_as_the_cancellation_is_given_back",
        "timeout_around_it_at_any_step_is_a_timeout",
        "close_at_any_step_stops_what_waits_and_what_holds",
    )
)


BLOCKING = (
    "tests/unit/client/test_blocking.py",
    "tests/client/test_blocking_with_daemon.py::test_an_interrupt_while_waiting_leaves_the_line",
)


def client(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/client/test_{name}.py" for name in names)


@dataclass(frozen=True, slots=True)
class Bot:
    """An environment, and the tests that run in it. `python`: the versions of which the first is taken that is there."""

    pins: str
    python: tuple[str, ...]
    tests: Sequence[str]


BOTS = {
    "rasa-3.6": Bot(
        "rasa-3.6.txt",
        ("3.10",),
        (
            *(*INTERNALS, *AMQP, *CANCELLATION, *EVERY_STEP, *BLOCKING),
            *client("events", "other_tasks", "publisher"),
            "tests/rasa/test_shutdown.py",
        ),
    ),
    "rasa-pro-3.15": Bot(
        "rasa-pro-3.15.txt",
        ("3.11", "3.12", "3.10"),
        (*INTERNALS, *AMQP, *client("events", "publisher")),
    ),
    "rasa-pro-3.21": Bot(
        "rasa-pro-3.21.txt",
        ("3.12", "3.13", "3.11"),
        (*INTERNALS, *AMQP, *client("obtaining", "publisher")),
    ),
    "alone": Bot(
        "client-alone.txt",
        ("3.14", "3.13", "3.12"),
        (*INTERNALS, CANCELLATION[0], BLOCKING[0], *client("events", "other_loops")),
    ),
}

WITNESS = """
import sys
from pathlib import Path

import lockstore
from tests.packaging.python310 import give_to_tests

HOME = Path(lockstore.__file__).parent
if sys.version_info < (3, 11):
    give_to_tests()


def pytest_terminal_summary(terminalreporter):
    strays = [
        name for name, module in sys.modules.items()
        if name.partition(".")[0] == "lockstore" and HOME not in Path(module.__file__ or HOME / "none").parents
    ]
    terminalreporter.write_line(f"lockstore was imported from {HOME}, {strays} from elsewhere")
"""
"""A conftest.py that tells where lockstore's modules came from, at the end, when all that the tests need is imported."""

ALONE = """
import sys
import lockstore.client
lockstore.client.LockClient("amqp://localhost/")
print(sorted({"aio_pika", "pydantic", "redis", "structlog"} & set(sys.modules)))
"""


STORES = """
import lockstore
try:
    lockstore.InMemoryLockStore
except ImportError as error:
    print(error)
"""


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


def run_tests(bot: Environment, tests: Sequence[str], folder: Path, daemons_python: Path) -> str:
    argv = [bot.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", folder / "tmp", *tests]
    # The daemon that some of them start is not part of this environment: it has its own.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["LOCKSTORE_DAEMON_PYTHON"] = str(daemons_python)
    done = subprocess.run([*map(str, argv)], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-15:]))
    assert done.returncode == 0, f"{done.stdout[-10_000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("name", BOTS)
def test_the_client_runs_where_bots_run(
    name: str, wheels: dict[str, Path], environment: Maker, copied: Path, daemons_python: Path
) -> None:
    kind = BOTS[name]
    python = next(filter(None, map(find_python, kind.python)), None)
    if python is None:
        pytest.skip(f"there is no Python {' or '.join(kind.python)}, neither in pyenv nor on the PATH")
    bot = environment(kind.pins, python)
    bot.install(wheels["lockstore"])
    assert run(bot.python, "-I", "-W", "error", "-c", ALONE).strip() == "[]"
    if name == "rasa-3.6":
        assert run(bot.python, "-I", "-W", "error", "-c", STORES).strip() == "the lock stores need Python 3.11 or newer"
    printed = run_tests(bot, kind.tests, copied, daemons_python)
    assert f"lockstore was imported from {bot.packages / 'lockstore'}, [] from elsewhere" in printed
