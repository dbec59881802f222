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


@pytest.mark.parametrize("root", ["lockstore", "daemon", "harness"])
def test_the_map_has_every_package_in_a_row_of_its_own(root: str) -> None:
    files = [*(CHECKOUT / root).rglob("*.py"), *(CHECKOUT / root).rglob("*.lua")]
    rows = re.findall(rf"^\| `({root}/(?:\w+/)*)` \|", text_of(ARCHITECTURE), re.MULTILINE)
    assert sorted(rows) == sorted({f"{name_of(file.parent)}/" for file in files})


def test_the_map_fits_on_a_few_screens() -> None:
    assert len(text_of(ARCHITECTURE).splitlines()) < 150


def test_readme_names_every_page() -> None:
    named = {(CHECKOUT / target.partition("#")[0]).resolve() for target in links(CHECKOUT / "README.md")}
    assert set(PAGES) - {CHECKOUT / "README.md"} <= named
