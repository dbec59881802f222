"""Outbox records of a line that is kept as one value: their ids, and reading them although they may be damaged."""

import json
from typing import Any

from lockstore.core.events import UNREADABLE, checked_event
from lockstore.stores.results import Entry, Notice, Patrol, Unreadable

__all__ = ["find_record", "place_of"]


def place_of(record: list[Any]) -> str:
    """Return an event's id within its conversation: each ticket is queued, granted and ended at most once."""
    try:
        return f"{record[2]}.{record[0]}"
    except (TypeError, IndexError, KeyError):
        return repr(record)  # not an event; identified by its whole content


def find_record(found: Patrol, conversation_id: str, record: Any) -> None:
    """Add an outbox record to `found`. A damaged record must not hide the others."""
    entry = Entry(conversation_id, place_of(record))
    try:
        found.unannounced.append(Notice(checked_event(record), entry))
    except UNREADABLE as error:
        raw = json.dumps(record, default=repr).encode()  # ASCII, which also represents unpaired surrogates
        found.unreadable.append(Unreadable(entry, raw, f"{type(error).__name__}: {error}"))
