"""Documents do not rot: every path that one names is there."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in (CHECKOUT / "README.md", CHECKOUT / "ARCHITECTURE.md", *(CHECKOUT / "docs").rglob("*.md"))
    if path.exists()
)
FOLDERS = {path.name for path in CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith(".")}

_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r"[\w.-]+(?:/[\w.*-]+)*/?")


def named_paths(text: str) -> set[str]:
    """Give what a document names as a path in this checkout: in `code`, below a folder that is there, or as a link."""
    prose = _FENCE.sub("", text)
    code = {word for word in _CODE.findall(prose) if _PATH.fullmatch(word)}
    return {word for word in code if word.split("/")[0] in FOLDERS and "/" in word}


def links(text: str) -> set[str]:
    return {
        link for link in _LINK.findall(_FENCE.sub("", text)) if "://" not in link and not link.startswith("mailto:")
    }


def exists(path: str, beside: Path) -> bool:
    if "*" in path:
        return any(CHECKOUT.glob(path))
    return (CHECKOUT / path).exists() or (beside / path).exists()


def test_the_readers_find_what_is_named() -> None:
    text = (
        "See `lockstore/core/rules.py`, `tests/`, `a/b` and `x`, [this](docs/a.md#part), [that](https://example.org).\n"
    )
    assert named_paths(text) == {"lockstore/core/rules.py", "tests/"}
    assert links(text) == {"docs/a.md"}
    assert not named_paths("```\n`lockstore/nothing.py`\n```\n")


def test_there_are_documents() -> None:
    assert CHECKOUT / "README.md" in DOCUMENTS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_path_that_a_document_names_is_there(path: Path) -> None:
    text = path.read_text()
    assert [named for named in sorted(named_paths(text)) if not exists(named, path.parent)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_inside_the_checkout_leads_somewhere(path: Path) -> None:
    assert [link for link in sorted(links(path.read_text())) if not (path.parent / link).exists()] == []
