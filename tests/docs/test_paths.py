"""What the documents point to is there."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import CHECKOUT, PAGES, anchors, codes, links, named_paths, prose_of, text_of

ARCHITECTURE = CHECKOUT / "ARCHITECTURE.md"


def name_of(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        assert CHECKOUT in file.parents, f"{target}: outside of the checkout"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_is_named_exists(page: Path) -> None:
    missing = [path for path in named_paths(page) if not (CHECKOUT / path.rstrip(".")).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {word for code in codes(prose_of(page)) for word in re.findall(r"^make ([a-z]+)", code)}
    assert named <= targets


@pytest.mark.parametrize("package", ["lockstore", "daemon", "harness"])
def test_the_map_has_every_module_in_a_row_of_its_own(package: str) -> None:
    files = [*(CHECKOUT / package).rglob("*.py"), *(CHECKOUT / package).rglob("*.lua")]
    modules = {name_of(file) for file in files if file.name != "__init__.py"}
    rows = re.findall(rf"^\| `({package}/[\w/]+\.(?:py|lua))` \|", text_of(ARCHITECTURE), re.MULTILINE)
    in_map = {row for row in rows if (CHECKOUT / row).suffix in (".py", ".lua")}
    assert modules <= in_map, "not on the map"
    assert in_map <= modules, "on the map, but gone"


def test_readme_names_every_page() -> None:
    named = {(CHECKOUT / target.partition("#")[0]).resolve() for target in links(CHECKOUT / "README.md")}
    assert set(PAGES) - {CHECKOUT / "README.md"} <= named
