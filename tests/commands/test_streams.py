"""Outputs that cannot be written, or lack a character; ids that look like options."""

import os
import pty
import subprocess
import sys

import pytest

LOCKSTORE = (sys.executable, "-m", "daemon")
TERMINAL = "import structlog; from daemon.monitoring import log_setup as logs; logs.set_up('info'); structlog.get_logger().info('e', id='\\x1b]0;x\\u202e\\ny')"


def run(command: str, stdout: int = subprocess.PIPE, **env: str) -> subprocess.CompletedProcess[str]:
    argv = ["bash", "-c", command.replace("lockstore", " ".join(LOCKSTORE), 1)]
    env = {**os.environ, **env}
    return subprocess.run(argv, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=env)


def test_output_that_cannot_be_written_is_told_and_no_traceback() -> None:
    ended = run("lockstore schema > /dev/full")
    assert (ended.returncode, ended.stderr) == (
        1,
        "lockstore schema: standard output cannot be written: No space left on device\n",
    )
    reading, writing = os.pipe()
    os.close(reading)  # `| head -1` may or may not have ended by then
    ended = run("lockstore schema", stdout=writing)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")
    ended = run("lockstore schema >&-")
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_characters_that_the_encoding_lacks_are_replaced(encoding: str) -> None:
    for command in ("lockstore --help", "lockstore show --help", "lockstore schema"):
        ended = run(command, PYTHONIOENCODING=encoding, LC_ALL="C", PYTHONUTF8="0")
        assert (ended.returncode, ended.stderr) == (0, "")


def test_bytes_that_are_not_text_are_refused() -> None:
    ended = run("lockstore show $'\\xff'")
    assert (ended.returncode, ended.stderr) == (2, "lockstore show: CONVERSATION: is not UTF-8\n")


@pytest.mark.parametrize("command", ["show", "watch", "release", "exec"])
def test_a_negative_number_is_a_conversation_id(command: str) -> None:
    ended = run(f"lockstore {command} -1001234567890 --config /no/such/file {'-- true' * (command == 'exec')}")
    assert (ended.returncode, "cannot be read" in ended.stderr) == (2, True)


def test_on_a_terminal_the_log_escapes_what_it_shows() -> None:
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", TERMINAL], stderr=follower, check=True, timeout=60)
    os.close(follower)
    seen = os.read(leader, 10_000).decode()
    os.close(leader)
    assert r"\x1b]0;x\u202e\ny" in seen
    assert seen.count("\n") == 1
