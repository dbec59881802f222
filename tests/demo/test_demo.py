"""The demonstration as a newcomer runs it: as a process, and here without a terminal."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.helpers import pids_in

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 110  # a little less than what a test has


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Give a folder whose name is short: the path of a unix socket below it has at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


def demo(folder: Path, *argv: str) -> "subprocess.Popen[str]":
    """Start it with its temporary folder in one of ours."""
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo", *argv],
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(folder: Path, *argv: str) -> tuple[int, str]:
    with demo(folder, *argv) as process:
        text, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, text


@pytest.mark.slow
def test_a_short_run_is_well_though_one_replica_is_killed_and_one_is_stopped(short_folder: Path) -> None:
    exit_code, text = outcome(short_folder, "--seconds", "3", "--replicas", "3", "--conversations", "6")
    assert exit_code == 0, text
    assert "bot-1 is killed (SIGKILL)" in text
    assert "bot-2 is stopped for 3 s (SIGSTOP)" in text
    assert "All is well: " in text
    assert not list(short_folder.iterdir())
    assert not pids_in(short_folder)


@pytest.mark.slow
def test_a_daemon_that_misbehaves_is_found_out(short_folder: Path) -> None:
    exit_code, text = outcome(short_folder, "--seconds", "2", "--misbehave")
    assert exit_code == 1, text
    assert "one that misbehaves on purpose" in text
    last = text.strip().splitlines()[-1]
    assert last.startswith("NOT WELL: ")
    assert "overlaps" in last
    assert "out of turn" in last


@pytest.mark.slow
def test_it_ends_quietly_with_the_verdict_so_far_on_a_signal(short_folder: Path) -> None:
    with demo(short_folder, "--seconds", "60", "--calm") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "hand-off p50" in line:
                break
        process.send_signal(signal.SIGINT)
        text = process.stdout.read()
    assert process.returncode == 130, text
    assert "Verdict so far" in text
    assert text.strip().splitlines()[-1].startswith("All was well: "), text
    assert "Traceback" not in text
    assert not list(short_folder.iterdir())
    assert not pids_in(short_folder)


@pytest.mark.parametrize(("argv", "exit_code"), [(["--help"], 0), (["--replicas", "1"], 2), (["--seconds", "x"], 2)])
def test_its_options_explain_themselves(short_folder: Path, argv: list[str], exit_code: int) -> None:
    code, text = outcome(short_folder, *argv)
    assert code == exit_code
    assert "--misbehave" in text
