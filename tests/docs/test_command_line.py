"""docs/command-line.md says what the commands say of themselves."""

import re
import shlex
import subprocess
import sys
from itertools import takewhile
from typing import Any

import pytest
import typer

from daemon.cli import exit_codes as ends
from daemon.cli.app import app
from tests.docs.pages import CHECKOUT, bare, blocks, codes, section, tables, text_of

PAGE = CHECKOUT / "docs" / "command-line.md"
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def options_of(name: str) -> set[str]:
    """Give the options of a command, each by its first name."""
    return {param.opts[0] for param in COMMANDS[name].params if param.opts[0].startswith("--")} - {"--help"}


def of_column(name: str, column: str) -> list[str]:
    rows = [row for table in tables(section(PAGE, f"`lockstore {name}`")) for row in table]
    return [row[column] for row in rows if column in row]


def test_the_table_has_every_command_and_each_a_heading_of_its_own() -> None:
    (rows,) = tables(section(PAGE, "Commands"))
    assert [codes(row["command"])[0] for row in rows] == list(COMMANDS)
    assert re.findall(r"^## `lockstore (\w+)`$", text_of(PAGE), re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_options_has_every_option(name: str) -> None:
    told = {code.split()[0] for cell in of_column(name, "option") for code in codes(cell)}
    assert told == options_of(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_text_has_an_example_and_the_exit_codes(name: str) -> None:
    text = COMMANDS[name].help
    assert re.search(rf"^Examples?.*:\nlockstore {name}\b", text, re.MULTILINE)
    assert "Exit code" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_of_the_page_or_of_a_help_text_is_one_that_is_taken(name: str) -> None:
    lines = [line for block in blocks("sh", PAGE) for line in block.text.splitlines()]
    lines += COMMANDS[name].help.splitlines()
    shown = [line for line in lines if line.startswith(f"lockstore {name} ")]
    assert shown
    for line in shown:
        words = shlex.shlex(line, posix=True, punctuation_chars="|>")
        words.whitespace_split = True
        argv = list(takewhile(lambda word: word not in ("|", ">"), words))[2:]
        COMMANDS[name].make_context(name, argv)


def test_the_exit_codes_of_exec_are_those_of_the_code() -> None:
    told = set(of_column("exec", "exit code"))
    ours = {ends.LOST, ends.BUSY, ends.FAILED, ends.NOT_EXECUTABLE, ends.NOT_FOUND, ends.BAD_CONFIGURATION}
    assert told == {str(code) for code in ours} | {"0 to 255", f"{ends.SIGNALLED} and a number"}


def test_the_variables_of_exec_are_those_of_the_code() -> None:
    source = (CHECKOUT / "daemon" / "cli" / "exec" / "run.py").read_text()
    assert {bare(cell) for cell in of_column("exec", "variable")} == set(re.findall(r'"(LOCKSTORE_\w+)":', source))


def test_the_help_is_shown_with_its_examples_as_they_are() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "daemon", "exec", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "lockstore exec user-42 -- ./migrate-user 42" in shown.stdout
