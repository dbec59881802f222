"""A file is a room: modules under 300 lines, functions under 50, each Lua verb on one screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MODULE_LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    assert [(name, lines) for name, lines in functions(path) if lines >= FUNCTION_LINES_MAX] == []


@pytest.mark.parametrize("path", [path for path in SCRIPTS if not path.name.startswith("_")], ids=name_of)
def test_a_verb_fits_on_one_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= VERB_LINES_MAX
