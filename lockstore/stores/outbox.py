"""Records in the outbox of a line that is kept as one value: by which name each goes, and reading what somebody may have damaged."""

import json
from typing import Any

from lockstore.core.events import UNREADABLE, checked_event
from lockstore.stores.results import Entry, Notice, Patrol, Unreadable

__all__ = ["find_record", "place_of"]


def place_of(record: list[Any]) -> str:
    """Name an event within its conversation: each ticket is queued, granted and ended at most once."""
    try:
        return f"{record[2]}.{record[0]}"
    except (TypeError, IndexError, KeyError):
        return repr(record)  # it is no event's, and goes by the whole of what it is


def find_record(found: Patrol, conversation_id: str, record: Any) -> None:
    """Read a record that an outbox keeps, and believe nothing: one that is no event's must not hide the others."""
    entry = Entry(conversation_id, place_of(record))
    try:
        found.unannounced.append(Notice(checked_event(record), entry))
    except UNREADABLE as error:
        raw = json.dumps(record, default=repr).encode()  # in ASCII, which takes half of a surrogate pair, too
        found.unreadable.append(Unreadable(entry, raw, f"{type(error).__name__}: {error}"))
