"""An error names the place of the option in the file: file, line and column."""

from pathlib import Path

import pytest

from daemon.config.location import with_location
from tests.configuration.loading import SECRET, load_whole, refusal, write
from tests.configuration.test_real_command import run

PARTITIONS = "daemon:\n  wait: 5\n\nbroker:\n  namespace: x # why\n  partitions: 0\n"
CASES = [
    (PARTITIONS, "broker.partitions: ", 6, 3),
    ("{broker: {namespace: x, partitions: 0}}\n", "broker.partitions: ", 1, 25),
    ('"broker":\n    "partitions": 0\n', "broker.partitions: ", 2, 5),
    ("\ufeffbroker:\r\n  partitions: 0\r\n", "broker.partitions: ", 2, 3),
    ("# a\n{ü: 1, broker: {ulr: x}}\n", "broker.ulr: ", 2, 17),
    ("daemon:\n  lifetime: 1e400\n", "daemon.lifetime: ", 2, 3),
    ("daemon:\n  max_lifetime: 5\n  lifetime: 6\n", "daemon.lifetime: ", 3, 3),
    ("daemon:\n  max_wait: 5\n", "daemon.wait: ", 1, 1),  # the option is a default: its section
    ("broker: {}\nlock_store:\n  host: x\n", "lock_store.type: ", 2, 1),
    ("lock_store:\n  type: redis\n  port: '6379/'\n", "lock_store.port: ", 3, 3),
    ("lock_store:\n  type: redis\n  password: ${NOWHERE}\n", "lock_store.password: ", 3, 3),
    (f"lock_store:\n  type: redis\n  password: a\n  host: redis://u:{SECRET}@h\n", "lock_store: password: ", 3, 3),
    ("broker:\n  port: 5\n", "broker.port: ", 2, 3),
    ("lock_store:\n  type: no.such.Store\n", "lock_store.type: ", 2, 3),
]


@pytest.mark.parametrize(("text", "option", "line", "column"), CASES)
def test_an_error_of_an_option_has_its_place(text: str, option: str, line: int, column: int, tmp_path: Path) -> None:
    said = refusal(tmp_path, text)
    assert said.startswith(option)
    file = tmp_path / "endpoints.yml"
    assert with_location(said, file) == f"{said} ({file}:{line}:{column})"


def test_an_entry_of_a_list_has_its_own_place(tmp_path: Path) -> None:
    file = write(tmp_path, "lock_store:\n  endpoints:\n    - a:1\n    - b:2\n")
    assert with_location("lock_store.endpoints.1: no", file).endswith(":4:7)")
    assert with_location("lock_store.endpoints.2: no", file).endswith(":2:3)")
    assert with_location("lock_store.endpoints: entry 2: no", file).endswith(":2:3)")


@pytest.mark.parametrize(
    "message",
    [
        "--by: must be 1 to 100 printable characters",
        "CONVERSATION: must not be empty",
        "TICKET_LOCK_LIFETIME: must be a number of seconds",
        "FILE, line 3: not valid YAML",
        "daemon.wait: not in this file",
        "broker.partitions",
        "",
    ],
)
def test_a_message_about_something_else_stays_as_it_is(message: str, tmp_path: Path) -> None:
    file = write(tmp_path, "broker:\n  partitions: 0\n")
    assert with_location(message, file) == message
    assert with_location(message, None) == message


@pytest.mark.parametrize("content", ["", "- a\n", "broker: [\n", b"\xff\xfe", "a\n", "broker: 5\n", "broker:\n"])
def test_a_file_that_cannot_be_read_again_leaves_the_message(content: str | bytes, tmp_path: Path) -> None:
    said = with_location("broker.url: wrong", write(tmp_path, content))
    assert said.startswith("broker.url: wrong")
    assert "line" not in said
    assert with_location("broker.url: wrong", tmp_path / "none.yml") == "broker.url: wrong"
    assert with_location("broker.url: wrong", tmp_path) == "broker.url: wrong"


def test_a_file_without_an_error_is_loaded(tmp_path: Path) -> None:
    assert load_whole(write(tmp_path, PARTITIONS.replace("0", "3"))).broker.partitions == 3


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_command_prints_the_place(command: str, tmp_path: Path) -> None:
    file = write(tmp_path, PARTITIONS)
    ended = run(command, file)
    assert ended.returncode == 2
    assert f"broker.partitions: must be 1 or more ({file}:6:3)" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
