"""Converts the nodes of our sections to values: texts as written, lists, mappings and null.

A text without quotes becomes `Unquoted`, so that code without a declared type can distinguish it from a quoted one.
"""

import re
from collections.abc import Iterator
from typing import Any

from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from daemon.config.yaml_document import MERGE, NODES_MAX, STRING_TAG, LineError, List, Map, Node, Text
from lockstore.util.text import is_secret_name, looks_like_name

__all__ = ["Unquoted", "resolve_unquoted", "value_of"]

_QUOTES = "put it in quotes"
_URLS = frozenset({"broker.url", "lock_store.host", "lock_store.url"})
_PLACEHOLDERS_ONLY = re.compile(r"(?:\$\{[^{}]*\})+")
_CORE = re.compile(
    # What YAML 1.2 reads as a number and YAML 1.1 partly as text; and the short booleans of YAML 1.1.
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-f]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:e[-+]?[0-9]+)?|y|n",
    re.IGNORECASE,
)
_YAML_1_1: Any = Resolver()
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Unquoted(str):
    """A text without quotes in the file."""

    __slots__ = ()


def value_of(node: Node, place: str) -> Any:
    """Return the value of a section or an option. `place`: its name, as `section.option`. Raises LineError."""
    return _Values().value(node, place)


def resolve_unquoted(value: Any, place: str) -> Any:
    """Return a value for code without declared types: numbers and booleans if all YAML parsers agree on them."""
    if isinstance(value, dict):
        return {name: resolve_unquoted(item, f"{place}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [resolve_unquoted(item, f"{place}.{number}") for number, item in enumerate(value)]
    return _resolved(str(value), place) if isinstance(value, Unquoted) else value


def _resolved(text: str, place: str) -> Any:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and str(float(text)) == text:
        return float(text)
    if _is_other_than_text(text):
        raise ValueError(f"{place}: could be read as a number, a date or a boolean: {_QUOTES}")
    return text


def _is_other_than_text(text: str) -> bool:
    """Return whether some YAML parser reads it as something other than text."""
    return _YAML_1_1.resolve(ScalarNode, text, (True, False)) != STRING_TAG or _CORE.fullmatch(text) is not None


class _Values:
    def __init__(self) -> None:
        self._count = 0

    def value(self, node: Node, place: str) -> Any:
        self._count += 1
        if self._count > NODES_MAX:
            raise LineError(node.line, f"{place}: aliases expand it to more than {NODES_MAX} values")
        if isinstance(node, Text):
            return _text(node, place)
        if node.tag is not None and node.tag != "!":
            raise LineError(node.line, f"{place}: begins with ! (a YAML tag), which is not supported: {_QUOTES}")
        if isinstance(node, List):
            return [self.value(item, f"{place}.{number}") for number, item in enumerate(node.items)]
        assert isinstance(node, Map)  # noqa: S101 - there is no other kind
        return self._mapping(node, place)

    def _mapping(self, node: Map, place: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.items:
            if isinstance(key, Text) and key.plain and key.tag is None and key.text == MERGE:
                for mapping in self._merged(item, place):
                    merged = mapping | merged
                continue
            name = _name(key, place)
            if node.flow and isinstance(item, Text) and item.plain and not item.text and not item.anchored:
                raise LineError(
                    key.line,
                    f"{place}: a name without a value in braces; quote values that contain a comma or a brace",
                )
            values[name] = self.value(item, f"{place}.{name if looks_like_name(name) else '?'}")
        return merged | values

    def _merged(self, node: Node, place: str) -> Iterator[dict[str, Any]]:
        for item in node.items if isinstance(node, List) else [node]:
            if not isinstance(item, Map):
                raise LineError(node.line, f"{place}: {MERGE} must be an alias (*) of a mapping, or a list of them")
            yield self.value(item, place)


def _name(key: Node, place: str) -> str:
    if not isinstance(key, Text) or key.tag not in (None, STRING_TAG) or key.anchored:
        raise LineError(
            key.line, f"{place}: a name must be plain text; if a value begins with !, &, [ or {{, {_QUOTES}"
        )
    if key.plain and key.tag is None and _is_other_than_text(key.text):
        raise LineError(key.line, f"{place}: a name that YAML could read as a number, a date or a boolean: {_QUOTES}")
    if _unfit(key.text) is not None:
        raise LineError(key.line, f"{place}: a name with a non-printable character")
    if "." not in place and not looks_like_name(key.text):
        raise LineError(
            key.line, f"{place}: an unknown name, with characters other than letters, digits and underscores"
        )
    return key.text


def _text(node: Text, place: str) -> Any:
    secret = is_secret_name(place.rpartition(".")[2])
    if node.tag not in (None, STRING_TAG):
        raise LineError(node.line, f"{place}: begins with ! (a YAML tag), which is not supported: {_QUOTES}")
    if node.anchored and (secret or not node.text):
        raise LineError(node.line, f"{place}: begins with & or * (a YAML anchor or alias): {_QUOTES}")
    if node.marked and not node.text:
        raise LineError(node.line, f"{place}: only a character with a special meaning in YAML (|, > or !): {_QUOTES}")
    if node.plain:
        _check_unquoted(node, place, secret=secret)
    if node.is_null:
        return None
    if (rule := _unfit(node.text)) is not None:
        raise LineError(node.line, f"{place}: {rule}")
    return Unquoted(node.text) if node.plain and node.tag is None else node.text


def _check_unquoted(node: Text, place: str, *, secret: bool) -> None:
    """Reject a text of which YAML may have removed a part, or which it joined from several lines."""
    if node.lines > 1:
        raise LineError(node.line, f"{place}: continues in the next line; {_QUOTES}, or check the indentation")
    if node.comment is None:
        return
    harmless = (node.is_null and node.text) or _PLACEHOLDERS_ONLY.fullmatch(node.text)
    if secret and not harmless:
        rule = f"is followed by a #, which begins a comment in YAML: {_QUOTES}, or remove the comment"
        raise LineError(node.line, f"{place}: {rule}")
    if place in _URLS and "@" in node.comment and "@" not in node.text and not harmless:
        rule = f"a # truncates the URL, because it begins a comment in YAML: {_QUOTES}, and write # as %23"
        raise LineError(node.line, f"{place}: {rule}")


def _unfit(text: str) -> str | None:
    """Return why a text cannot be used at all; None: it can. Line ends and tabs are checked with the option."""
    for char in text:
        if "\ud800" <= char <= "\udfff":
            return "contains an unpaired surrogate"
        if (char < " " and char not in "\t\n") or "\x7f" <= char <= "\x9f":
            return "must not contain control characters"
    return None
