"""Finds the place in the configuration file that an error is about."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from daemon.config.file import read_document
from daemon.config.yaml_document import List, Map, Node, Text

__all__ = ["with_location"]

_OPTION = re.compile(r"([a-z_]+(?:(?:\.|: )[\w-]+)*): ")
_STEP = re.compile(r"\.|: ")


def with_location(message: str, config: Path | None) -> str:
    """Append `(file:line:column)` to a message that begins with an option's name, or with that of its section.

    Without that option in the file, the place is that of its section. The message is returned unchanged if the file has
    neither: then the value is a default, or from the environment.
    """
    named = _OPTION.match(message)
    if named is None or config is None:
        return message
    try:
        root = read_document(config)
    except ValueError:  # the message is about something else, and the file has changed since
        return message
    key = _find(root, _STEP.split(named[1]))
    if key is None:
        return message
    shown = os.fsencode(config).decode(errors="backslashreplace")
    return f"{message} ({shown}:{key.line}:{key.column})"


def _find(root: Node | None, names: Sequence[str]) -> Node | None:
    """Return the name of the option, or the item of its list, as far as the file has it."""
    found, inside = None, root
    for name in names:
        pair = _step(inside, name)
        if pair is None:
            break
        found, inside = pair
    return found


def _step(node: Node | None, name: str) -> tuple[Node, Node] | None:
    if isinstance(node, Map):
        return next(((key, item) for key, item in node.items if isinstance(key, Text) and key.text == name), None)
    if isinstance(node, List) and name.isdecimal() and int(name) < len(node.items):
        return node.items[int(name)], node.items[int(name)]
    return None
