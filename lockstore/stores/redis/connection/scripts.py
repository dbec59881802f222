"""The Lua scripts: loaded from `lua/`, with what they include put in, each known by its SHA1."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Script", "giving_back", "load"]

_INCLUDE = re.compile(r"^-- INCLUDE +(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One script as Redis gets it."""

    name: str
    text: str
    sha: str
    writes: bool
    """Whether it may write: its first line does not say otherwise."""
    repeatable: bool
    """Whether it may be run again where nobody knows whether it was: its header (`RETRY`) does not say otherwise."""

    @classmethod
    def of(cls, name: str, text: str) -> "Script":
        """Name a text by its SHA1, as Redis does."""
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        return cls(name, text, sha, "no-writes" not in text.partition("\n")[0], "-- RETRY    NOT safe" not in text)


def giving_back(script: Script) -> Script:
    """Give the variant of a script that is run although the server is full: for a call that gives memory back."""
    first, _, body = script.text.partition("\n")
    return Script.of(script.name, f"{first} flags=allow-oom\n{body}")


def _read(name: str) -> str:
    return (files("lockstore.stores.redis") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


@cache
def load(name: str) -> Script:
    """Load a verb: its first line (`#!lua`), then what it includes, then its own text."""
    text = _read(name)
    first, _, body = text.partition("\n")
    included = _INCLUDE.search(text)
    parts = [_read(part) for part in included[1].split()] if included else []
    return Script.of(name, "\n".join([first, *parts, body]))
