"""The Lua scripts: loaded from `lua/` with their includes, identified by SHA1."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Script", "giving_back", "load"]

_INCLUDE = re.compile(r"^-- INCLUDE +(.+)$", re.MULTILINE)
_CONSTANT = re.compile(r"^local ([A-Z_]+) = (\d+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis receives it."""

    name: str
    text: str
    sha: str
    writes: bool
    """Whether it may write, according to the flags in its first line."""
    repeatable: bool
    """Whether it may be repeated if its outcome is unknown, according to its header (`RETRY`)."""

    @classmethod
    def of(cls, name: str, text: str) -> "Script":
        """Create a script with the SHA1 that Redis uses."""
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        return cls(name, text, sha, "no-writes" not in text.partition("\n")[0], "-- RETRY    NOT safe" not in text)


def giving_back(script: Script) -> Script:
    """Return the variant of a script that runs even if the server is full, for calls that free memory."""
    first, _, body = script.text.partition("\n")
    return Script.of(script.name, f"{first} flags=allow-oom\n{body}")


def _read(name: str) -> str:
    return (files("lockstore.stores.redis") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


@cache
def load(name: str) -> Script:
    """Load a script: its first line (`#!lua`), then its includes, then its own text.

    An include with the line `-- REST` is a frame: everything after it is inserted there.
    """
    text = _read(name)
    first, _, body = text.partition("\n")
    included = _INCLUDE.search(text)
    parts = [_read(part) for part in included[1].split()] if included else []
    whole = body
    for part in reversed(parts):
        before, is_frame, after = part.partition("-- REST\n")
        whole = f"{before}{whole}{after}" if is_frame else f"{part}\n{whole}"
    return Script.of(name, f"{first}\n{_with_constants_in_place(whole)}")


def _with_constants_in_place(text: str) -> str:
    """Put numbers in place of `local NAME = number`: Lua 5.1 has no constants, and each local costs Redis time in each call."""
    for name, value in _CONSTANT.findall(text):
        text = re.sub(rf"\b{name}\b", value, text.replace(f"local {name} = {value}\n", "", 1))
    return text
