"""Texts of the command line: what cannot be an id or a name is refused in one sentence, and what can be is taken as it is."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from daemon.cli.app import app

CODES = {"show": [], "watch": [], "release": ["--force", "--yes"], "exec": ["--", "true"]}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NAME = "\u05e9\u05dc\u05d5\u05dd \U0001f600"
BAD_IDS = [
    (b"", "must not be empty"),
    (b"\xff", "is not UTF-8"),
    (b"\xed\xa0\x80", "is not UTF-8"),
    ("\u05e9".encode() * 101, "must be at most 200 bytes of UTF-8"),
    (b"x" * 201, "must be at most 200 bytes of UTF-8"),
    (b"a\nb", "must not contain control characters"),
    (b"\x1b]0;x\x07", "must not contain control characters"),
    ("\u0085".encode(), "must not contain control characters"),
]


def refusal(command: str, *argv: str | bytes) -> str:
    """Run what is refused, in this process, with arguments as the system gives them."""
    refused = CliRunner().invoke(app, [command, *map(os.fsdecode, argv)])
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    start = f"lockstore {command}: "
    assert refused.stderr.startswith(start)
    return refused.stderr.removeprefix(start).rstrip("\n")


def refusal_in_c_locale(command: str, *argv: str | bytes) -> str:
    words: list[str | bytes] = [sys.executable, "-m", "daemon", command, *argv]
    ended = subprocess.run(words, capture_output=True, timeout=60, check=False, env={**os.environ, **C_LOCALE})
    assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (2, b"", 1)
    return ended.stderr.decode().partition(": ")[2].rstrip("\n")


@pytest.mark.parametrize("command", CODES)
def test_what_cannot_be_a_conversation_id_is_refused(command: str) -> None:
    for bad, rule in BAD_IDS:
        assert refusal(command, bad, *CODES[command]) == f"CONVERSATION: {rule}"
    assert refusal_in_c_locale(command, b"\xff", *CODES[command]) == "CONVERSATION: is not UTF-8"


def test_what_cannot_be_a_name_is_refused() -> None:
    rule = "--by: must be 1 to 128 printable characters"
    for bad in (b"", b"a\nb", b"x" * 129, "\u202e".encode()):
        assert refusal("release", "c", "--force", "--yes", "--by", bad) == rule
    assert refusal("release", "c", "--force", "--yes", "--by", b"\xff") == "--by: is not UTF-8"
    for bad, rule in (
        (b"", "must not be empty"),
        (b"\xff", "is not UTF-8"),
        (b"a\x1b", "must not contain control characters"),
        (b"x" * 129, "must have at most 128 characters"),
    ):
        assert refusal("exec", "c", "--holder", bad, "--", "true") == f"--holder: {rule}"
    assert refusal("exec", "c", "--", "") == "COMMAND: must not be empty"


@pytest.mark.parametrize("command", CODES)
def test_any_other_text_is_an_id_after_two_dashes_in_any_locale(command: str) -> None:
    after = ["--", "true"] if command == "exec" else []
    before = [*(CODES[command] if command == "release" else []), "--config", "/no/such/file", "--"]
    for name in ("--json", "-h", "--help", "--", "-x", NAME, "x" * 200):
        assert "/no/such/file: cannot be read" in refusal(command, *before, name, *after)
    assert "/no/such/file: cannot be read" in refusal_in_c_locale(command, *before, NAME.encode(), *after)


def test_a_purge_of_a_place_that_is_not_text_names_it_in_escapes() -> None:
    assert "cannot be read" in refusal("purge", "--config", b"/no/\xff\x1b")


@pytest.mark.parametrize("command", [("status",), ("show", "c"), ("doctor",)])
def test_what_cannot_be_the_url_of_a_daemon_is_refused(command: tuple[str, ...]) -> None:
    rule = "--daemon: must be a URL such as http://127.0.0.1:8470"
    for bad in (
        b"",
        b"localhost:8470",
        b"ftp://h",
        b"http://",
        b"http://[::1",
        b"http://h:99999",
        b"http://h\x1b]0;x\x07",
    ):
        assert refusal(*command, "--daemon", bad) == rule
    assert refusal(*command, "--daemon", b"http://\xff") == "--daemon: is not UTF-8"
