"""What is written down while the demonstration runs: JSON lines, one file for each process that saw something."""

import json
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["Reader", "Record", "Recorder", "What", "holder_name", "now", "read_holder"]


class What(StrEnum):
    """What happened, in the words of whoever saw it."""

    # a replica, about one of its calls
    ASKED = "asked"
    INSIDE = "inside"
    LEAVING = "leaving"
    LEFT = "left"
    LEASE_LOST = "lease lost"
    REFUSED = "refused"
    # the conductor, about a replica, or about the whole
    KILLED = "killed"
    STOPPED = "stopped"
    CONTINUED = "continued"
    BROKEN_OFF = "broken off"
    # the daemon, in its public events, about a ticket
    TOLD_QUEUED = "told queued"
    TOLD_GRANTED = "told granted"
    TOLD_RELEASED = "told released"
    TOLD_EXPIRED = "told expired"
    TOLD_CANCELLED = "told cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that happened. `at`: seconds of CLOCK_MONOTONIC, which all processes of a machine share."""

    what: What
    at: float
    replica: str = ""
    call: int = 0  # counts a replica's calls in the order of their publishing
    conversation: str = ""
    ticket: int | None = None
    detail: str = ""


class Recorder:
    """Appends records to a file, each at once: what was written stays when the process is killed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, record: Record) -> None:
        """Append a record."""
        self._file.write(json.dumps({name: value for name, value in asdict(record).items() if value}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Reader:
    """Reads what all recorders have written into a folder, as it comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[Path, int] = {}

    def new(self) -> list[Record]:
        """Read what was written since the last call, file by file; half a line waits for its other half."""
        return [record for path in sorted(self._folder.glob("*.jsonl")) for record in self._new_in(path)]

    def _new_in(self, path: Path) -> list[Record]:
        with path.open("rb") as file:
            file.seek(self._places.get(path, 0))
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._places[path] = self._places.get(path, 0) + len(whole)
        return [_record(line) for line in whole.splitlines()]


def _record(line: bytes) -> Record:
    fields = json.loads(line)
    return Record(**{**fields, "what": What(fields["what"])})


def now() -> float:
    """Give the time that records carry."""
    return time.monotonic()


def holder_name(replica: str, call: int) -> str:
    """Name a call in the request's `holder`, so that the public events tell whose ticket they speak of."""
    return f"{replica}/{call}"


def read_holder(holder: str | None) -> tuple[str, int]:
    """Give the replica and the call that a `holder` names."""
    replica, _, call = (holder or "").partition("/")
    return replica, int(call) if call.isdigit() else 0
