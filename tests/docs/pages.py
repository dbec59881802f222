"""What the documents are made of: pages, fenced blocks, tables, links, names of paths."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [CHECKOUT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + list((CHECKOUT / "docs").glob("*.md"))
)
CONFIGS = sorted(set((CHECKOUT / "configs").glob("*.yml")) - set((CHECKOUT / "configs").glob("prometheus-*.yml")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FOLDERS = (
    ".ci|benchmarks|configs|daemon|docs|examples|harness|lockstore|requirements|scripts|systemd|tests"  # of a checkout
)
_PATH = re.compile(rf"(?<![\w./-])(?:{_FOLDERS})/[\w./-]*")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """Give a page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def blocks(language: str, *pages: Path) -> list[Block]:
    return [
        Block(page, text_of(page)[: found.start()].count("\n") + 1, found[1], found[2])
        for page in pages or PAGES
        for found in _FENCE.finditer(text_of(page))
        if found[1] == language
    ]


def section(page: Path, heading: str) -> str:
    """Give what stands under a heading, up to the next one of any level."""
    text = text_of(page)
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start, f"{page.name} has no heading {heading!r}"
    rest = text[start.end() :]
    end = _HEADING.search(_FENCE.sub(lambda block: "-" * len(block[0]), rest))
    return rest[: end.start()] if end else rest


def tables(text: str) -> list[list[dict[str, str]]]:
    """Read all tables, each row as its cells by column."""
    found: list[list[dict[str, str]]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(r"\|(-+\|)+", line):
            names = _cells(lines[number - 1])
            rows = []
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(dict(zip(names, _cells(row), strict=True)))
            found.append(rows)
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def bare(cell: str) -> str:
    """Take the code marks from a cell."""
    return cell.strip("`")


def codes(cell: str) -> list[str]:
    return _CODE.findall(cell)


def links(page: Path) -> list[str]:
    return [target for target in _LINK.findall(prose_of(page)) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as code hosts make them."""
    headings = _HEADING.findall(prose_of(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named_paths(page: Path) -> Iterator[str]:
    """Find paths of the checkout that a page names, in code marks or in commands."""
    for code in _CODE.findall(prose_of(page)):
        yield from _PATH.findall(code)
    for block in blocks("sh", page):
        yield from _PATH.findall(block.text)
