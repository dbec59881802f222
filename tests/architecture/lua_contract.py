"""Reads a Lua script's contract header: what it says of its purpose, KEYS, ARGV, reply, and of being called again."""

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Literal

FOLDER = files("lockstore.stores.redis") / "lua"
FIELDS = ("PURPOSE", "KEYS", "ARGV", "REPLY", "RETRY")
List = Literal["KEYS", "ARGV"]

_FIELD = re.compile(r"^-- ([A-Z]+)\s+(.*)$")
_MORE = re.compile(r"^--\s+(.*)$")
_DECLARED = re.compile(r"(?:^|· |  )(\d+)(?:-(\d+))? ")


@dataclass(frozen=True)
class Contract:
    """One script, and what it declares."""

    name: str
    text: str

    @cached_property
    def header(self) -> dict[str, str]:
        """The fields of the header, each on one line; their own lines are joined by two blanks."""
        fields: dict[str, str] = {}
        current = ""
        for line in self.text.splitlines():
            if line.startswith("#!"):
                continue
            if not line.startswith("--"):
                break
            if field := _FIELD.match(line):
                current = field[1]
                fields[current] = field[2]
            elif current and (more := _MORE.match(line)):
                fields[current] += f"  {more[1]}"
        return fields

    @property
    def included(self) -> list[str]:
        return self.header.get("INCLUDE", "").split()

    def declared(self, which: List) -> set[int]:
        """The places of KEYS or ARGV that the header explains, those of included files too."""
        found: set[int] = set()
        for name in self.included:
            found |= contract(name).declared(which)
        for first, last in _DECLARED.findall(self.header.get(which, "")):
            found |= set(range(int(first), int(last or first) + 1))
        return found

    @property
    def body(self) -> str:
        """What runs: the script without comments, after what it includes."""
        own = "\n".join(line.partition("--")[0] for line in self.text.splitlines())
        return "\n".join([*(contract(name).body for name in self.included), own])

    def used(self, which: List) -> set[int]:
        """The places of KEYS or ARGV that the body names by a number."""
        return {int(place) for place in re.findall(rf"{which}\[(\d+)\]", self.body)}

    def uses_computed(self, which: List) -> list[str]:
        """Places that the body computes, as `KEYS[place]`."""
        return [place for place in re.findall(rf"{which}\[([^\]]+)\]", self.body) if not place.isdigit()]


def contract(name: str) -> Contract:
    return Contract(name, (FOLDER / f"{name}.lua").read_text())


def names() -> list[str]:
    return sorted(path.name.removesuffix(".lua") for path in FOLDER.iterdir() if path.name.endswith(".lua"))
