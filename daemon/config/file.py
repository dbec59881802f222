"""Reads the configuration file: its bytes, its text, and our sections as values. Raises ConfigError if it cannot be used."""

import os
import stat
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from daemon.config.yaml_document import LineError, Map, Node, Text, parse
from daemon.config.yaml_values import value_of
from lockstore.errors import ConfigError

__all__ = ["FILE_MAX_BYTES", "read_document", "read_sections"]

FILE_MAX_BYTES = 256 * 1024
"""Far larger than any configuration; a larger file must be a mistake."""

_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_MARK = b"\xef\xbb\xbf"
_NEAR = 0.8  # similarity of a name to one of ours from which it is considered misspelt


def read_sections(path: Path, options: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Return our sections of a file. `options`: the names of our sections, each with the names of its options."""
    shown = os.fsencode(path).decode(errors="backslashreplace")
    try:
        return _sections(parse(_decoded(_content(path))), options)
    except LineError as fault:
        message = f"{shown}, line {fault.line}: {fault.rule}"
        raise ConfigError(message) from None
    except ValueError as error:
        message = f"{shown}: {error}"
        raise ConfigError(message) from None


def read_document(path: Path) -> Node | None:
    """Return the nodes of a file, None if it is empty. Raises ValueError if it cannot be parsed."""
    try:
        return parse(_decoded(_content(path)))
    except LineError as fault:
        raise ValueError(fault.rule) from None


def _content(path: Path) -> bytes:
    """Read a regular file; other kinds could block."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError("cannot be read: it is not a regular file")
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > FILE_MAX_BYTES:
        raise ValueError(f"larger than {FILE_MAX_BYTES} bytes")
    return content


def _decoded(content: bytes) -> str:
    if content.startswith(_WIDE_MARKS):
        raise ValueError("must be valid UTF-8; this is UTF-16 or UTF-32")
    content = content.removeprefix(_MARK)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise LineError(content.count(b"\n", 0, error.start) + 1, "must be valid UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _sections(root: Node | None, options: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    if root is None:
        raise ValueError("the file is empty; to use all defaults, write {} into it or do not configure a file")
    if not isinstance(root, Map):
        what = "a text" if isinstance(root, Text) else "a list"
        raise LineError(root.line, f"must be a mapping of sections ({', '.join(options)}), not {what}")
    named = [(key.text if isinstance(key, Text) else "", key, item) for key, item in root.items]
    written = {name for name, _, _ in named}
    sections: dict[str, dict[str, Any]] = {}
    above: str | None = None
    for name, key, item in named:
        if name in options:
            _check_section(name, item, written, options[name])
            sections[name] = value_of(item, name)
            above = name
        elif above is not None and name in options[above] and not isinstance(item, Map):
            raise LineError(key.line, f"{name}: is not inside {above}: indent this line, like all options of {above}")
        else:
            above = None
            _check_spelling(name, key.line, written, options)
    return sections


def _check_section(name: str, node: Node, written: Collection[str], options: Collection[str]) -> None:
    if isinstance(node, Map):
        return
    if not (isinstance(node, Text) and node.is_null):
        what = "a text" if isinstance(node, Text) else "a list"
        raise LineError(
            node.line, f"{name}: must be a mapping of options, each on an indented line of its own, not {what}"
        )
    beside = sorted(set(written) & set(options))
    if beside:
        raise LineError(
            node.line, f"{name}: is empty, and {', '.join(beside)} follows unindented: indent the lines of its options"
        )
    meant = "write type: in_memory in it, indented" if name == "lock_store" else f"write {name}: {{}}"
    raise LineError(node.line, f"{name}: is empty: indent the lines of its options, or, if this is intended, {meant}")


def _check_spelling(name: str, line: int, written: Collection[str], options: Mapping[str, Collection[str]]) -> None:
    """Reject a section whose name is almost one of ours, if that one is missing: it would be silently ignored."""
    plain = {section.replace("_", ""): section for section in options if section not in written}
    near = get_close_matches(name.lower().replace("-", "").replace("_", "").replace(" ", ""), plain, 1, _NEAR)
    if near:
        raise LineError(line, f"{name}: is not a section of lockstore; did you mean {plain[near[0]]}?")
