"""A file is a room: modules under 300 lines, functions under 50, each Lua verb on one screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import LONGEST

CHECKOUT = Path(__file__).parents[2]
MODULES = sorted(path for folder in ("lockstore", "daemon", "harness") for path in (CHECKOUT / folder).rglob("*.py"))
SCRIPTS = sorted((CHECKOUT / "lockstore" / "stores" / "redis" / "lua").glob("*.lua"))

MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50
VERB_LINES_MAX = 65


def name_of(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Give each function's name, and its lines from `def` to its end."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_there_is_something_to_measure() -> None:
    assert len(MODULES) > 20
    assert len(SCRIPTS) > 10


def test_modules_are_short() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count >= MODULE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    lines = [(name_of(path), name, count) for path in MODULES for name, count in functions(path)]
    assert [found for found in lines if found[2] >= FUNCTION_LINES_MAX] == []


def test_a_verb_fits_on_one_screen() -> None:
    verbs = [path for path in SCRIPTS if not path.name.startswith("_")]
    lines = {name_of(path): len(path.read_text().splitlines()) for path in verbs}
    assert {name: count for name, count in lines.items() if count > VERB_LINES_MAX} == {}


def test_the_files_that_are_begun_first_exist() -> None:
    assert [file for file in LONGEST if not (CHECKOUT / "tests" / file).is_file()] == []
