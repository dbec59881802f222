"""Parses the configuration file's YAML into nodes that keep each text as written.

Nothing is resolved here: `0123`, `yes` and `1e3` remain text, and the type of an option determines their meaning later. No
message repeats a value: errors name the line and, if known, the option.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from lockstore.errors import ConfigError
from lockstore.util.text import looks_like_name

__all__ = ["DEPTH_MAX", "MERGE", "NODES_MAX", "STRING_TAG", "LineError", "List", "Map", "Node", "Text", "parse"]

DEPTH_MAX = 32
"""The maximum nesting of lists and mappings."""

NODES_MAX = 10_000
"""The maximum number of values in a file, including those repeated by aliases."""

MERGE = "<<"
STRING_TAG = "tag:yaml.org,2002:str"

_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_COMMENT = re.compile(r"[ \t]+#([^\n]*)")
_NULLS = frozenset({"", "~", "null"})

# Beginnings of pyyaml's messages, and ours, since pyyaml's may quote the file.
_QUOTES = "put the value in quotes"
_PROBLEMS = (
    ("found character '\\t'", "a tab character: indent with spaces"),
    ("found character", f"a value cannot begin with @, ` or %: {_QUOTES}"),
    ("mapping values are not allowed", f"unexpected colon: check the indentation; if it belongs to a value, {_QUOTES}"),
    ("could not find expected ':'", "a name must be followed by a colon and a space"),
    ("expected alphabetic or numeric", f"a value cannot begin with *, & or %: {_QUOTES}"),
    ("expected chomping or indentation", f"a value cannot begin with | or >: {_QUOTES}"),
    ("expected indentation indicator", f"a value cannot begin with | or >: {_QUOTES}"),
    ("expected a comment or a line break", f"a value cannot begin with | or >: {_QUOTES}"),
    ("found undefined tag handle", f"a value cannot begin with !: {_QUOTES}"),
    ("expected '!'", f"a value cannot begin with !: {_QUOTES}"),
    ("expected URI", f"a value cannot begin with !: {_QUOTES}"),
    ("expected '>'", f"a value cannot begin with !: {_QUOTES}"),
    ("expected ' '", f"a value cannot begin with !: {_QUOTES}"),
    ("found unknown escape", "a \\ in \"double quotes\" starts an escape sequence: write \\\\, or use 'single quotes'"),
    ("expected escape sequence", "a \\ in \"double quotes\" starts an escape sequence: write \\\\, or use 'single quotes'"),
    ("found unexpected end of stream", "unclosed quote"),
    ("found unexpected document separator", "unclosed quote"),
    ("block sequence entries are not allowed", f"a value cannot begin with - and a space: {_QUOTES}"),
    ("sequence entries are not allowed", f"a value cannot begin with - and a space: {_QUOTES}"),
    ("mapping keys are not allowed", f"a value cannot begin with ? and a space: {_QUOTES}"),
    ("found duplicate anchor", f"duplicate anchor (&); if & begins a value, {_QUOTES}"),
    ("expected <block end>", "this line does not fit the lines above: check the indentation, and whether a value needs quotes"),
    ("expected ','", "unclosed [ or {, or a value in it that needs quotes"),
    ("expected the node content", f"a value cannot begin like this: {_QUOTES}"),
    ("expected '<document start>'", "this line does not fit the lines above: check the indentation"),
)  # fmt: skip


class LineError(ConfigError):
    """A problem, with its line."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(rule)
        self.line = line
        self.rule = rule


@dataclass(slots=True, kw_only=True)
class Node:
    """A value, with the line and column (from 1) in which it begins."""

    line: int
    column: int = 1
    tag: str | None = None
    anchored: bool = False


@dataclass(slots=True, kw_only=True)
class Text(Node):
    """A text as written."""

    text: str
    plain: bool
    marked: bool = False
    lines: int = 1
    comment: str | None = None

    @property
    def is_null(self) -> bool:
        """Whether every YAML parser reads it as null."""
        return self.plain and self.tag is None and self.text in {"", "~", "null", "Null", "NULL"}


@dataclass(slots=True, kw_only=True)
class List(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Map(Node):
    """A mapping, in the order of the file; `flow`: in braces."""

    flow: bool
    items: list[tuple[Node, Node]] = field(default_factory=list)


def parse(text: str) -> Node | None:
    """Parse the single document of a file; None: it is empty. Raises LineError."""
    composer = _Composer(text)
    try:
        return composer.document()
    except yaml.reader.ReaderError as error:
        rule = f"a character not allowed in YAML (U+{int(error.character):04X})"
        raise LineError(text.count("\n", 0, error.position) + 1, rule) from None
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        rule = composer.problem(error.problem or "")
        raise LineError(1 if place is None else place.line + 1, rule) from None


def _line_of(event: Event) -> int:
    mark: Any = event.start_mark
    return int(mark.line) + 1


class _Composer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._loader: Any = None
        self._anchors: dict[str, Node | None] = {}
        self._place: list[str] = []
        self._count = 0

    def problem(self, said: str) -> str:
        """Translate a problem reported by pyyaml, adding the option being parsed."""
        rule = next((rule for beginning, rule in _PROBLEMS if said.startswith(beginning)), None)
        what = f"not valid YAML at {'.'.join(self._place)}" if self._place else "not valid YAML"
        return what if rule is None else f"{what}: {rule}"

    def named(self, rule: str) -> str:
        """Prefix a rule with the option's name, as far as it has been parsed."""
        return f"{'.'.join(self._place)}: {rule}" if self._place else rule

    def document(self) -> Node | None:
        self._loader = yaml.SafeLoader(self._text)
        self._next()  # the stream's start
        if isinstance(self._next(), StreamEndEvent):
            return None
        root = self._node(self._next(), 0)
        end = self._next()
        following = self._next()
        if not (isinstance(end, DocumentEndEvent) and isinstance(following, StreamEndEvent)):
            raise LineError(_line_of(following), "a second document begins (---), but only one is allowed")
        return None if isinstance(root, Text) and root.plain and root.text == "" and root.tag is None else root

    def _next(self) -> Event:
        event: Event = self._loader.get_event()
        return event

    def _fault(self, line: int, rule: str) -> LineError:
        return LineError(line, self.named(rule))

    def _node(self, event: Event, depth: int) -> Node:
        line = _line_of(event)
        self._count += 1
        if self._count > NODES_MAX:
            raise LineError(line, f"the file contains more than {NODES_MAX} values")
        if depth > DEPTH_MAX:
            raise self._fault(line, f"lists and mappings are nested more than {DEPTH_MAX} levels deep")
        if isinstance(event, AliasEvent):
            return self._alias(event, line)
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        mark: Any = event.start_mark
        node = self._made(event, line, depth)
        node.column = mark.column + 1
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: AliasEvent, line: int) -> Node:
        if event.anchor not in self._anchors:
            rule = f"a value beginning with * is a YAML alias, but there is no such anchor: {_QUOTES}"
            raise self._fault(line, rule)
        node = self._anchors[event.anchor]
        if node is None:
            raise self._fault(line, "a recursive alias (*)")
        return node

    def _made(self, event: Event, line: int, depth: int) -> Node:
        if isinstance(event, ScalarEvent):
            return self._scalar(event, line)
        if isinstance(event, SequenceStartEvent):
            items = List(line=line, tag=event.tag, anchored=event.anchor is not None)
            while not isinstance(following := self._next(), SequenceEndEvent):
                items.items.append(self._node(following, depth + 1))
            return items
        assert isinstance(event, MappingStartEvent)  # noqa: S101 - there is no other kind
        return self._mapping(event, line, depth)

    def _scalar(self, event: ScalarEvent, line: int) -> Text:
        end: Any = event.end_mark  # pyyaml's stubs allow events without a position
        comment = None if event.style in ("|", ">") else _COMMENT.match(self._text, end.index)
        return Text(
            line=line,
            tag=None if event.tag == "!" else event.tag,
            anchored=event.anchor is not None,
            text=event.value,
            plain=not event.style and event.tag != "!",
            marked=event.tag == "!" or event.style in ("|", ">"),
            lines=end.line + 2 - line,
            comment=None if comment is None else comment[1],
        )

    def _mapping(self, event: MappingStartEvent, line: int, depth: int) -> Map:
        mapping = Map(line=line, tag=event.tag, anchored=event.anchor is not None, flow=bool(event.flow_style))
        known: dict[Any, int] = {}
        while not isinstance(following := self._next(), MappingEndEvent):
            key = self._node(following, depth + 1)
            name = key.text if isinstance(key, Text) else ""
            if isinstance(key, Text):
                self._check_twice(key, known)
            self._place.append(name if looks_like_name(name) else "?")
            mapping.items.append((key, self._node(self._next(), depth + 1)))
            self._place.pop()
        return mapping

    def _check_twice(self, key: Text, known: dict[Any, int]) -> None:
        same = _compared(key)
        if same in known:
            name = key.text if looks_like_name(key.text) else "a name"
            rule = f"{name} is defined twice, in line {known[same]} and in line {key.line}"
            raise LineError(key.line, self.named(rule))
        known[same] = key.line


def _compared(key: Text) -> Any:
    """Return the comparison key of a name: names that any YAML parser considers equal are equal."""
    if not key.plain:
        return key.text
    lower = key.text.lower()
    if lower in _BOOLEANS:
        return ("bool", _BOOLEANS[lower])
    if lower in _NULLS:
        return ("null",)
    try:
        return ("number", float(lower.replace("_", ""))) if lower[:1].isdigit() else key.text
    except ValueError:
        return key.text
