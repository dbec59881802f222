"""Converts between conversation ids and the relative URLs of their pages. Pure.

URLs are relative, so that a proxy may add a path prefix.
"""

from urllib.parse import quote, unquote

__all__ = ["conversation_id_of", "conversation_place"]

_FOLDER = "conversations/"
_TURNED = frozenset({".", ".."})  # browsers resolve them, even when they are percent-encoded
_REFUSED = frozenset(map(chr, range(32))) | {"/", "\\"}  # proxies decode, convert, join or reject these in a path


def conversation_place(conversation_id: str) -> str:
    """Return the URL of a conversation, relative to the root. Characters unsafe in a path are put into the query."""
    encoded = quote(conversation_id, safe="")
    in_path = conversation_id not in _TURNED and not _REFUSED.intersection(conversation_id)
    return f"{_FOLDER}{encoded}" if in_path and encoded else f"{_FOLDER}?id={encoded}"


def conversation_id_of(raw_path: str, folder: str) -> str | None:
    """Return the conversation id from an encoded path; None: there is none, or it is not UTF-8."""
    _, _, encoded = raw_path.partition(f"/{folder}")
    try:
        return unquote(encoded, errors="strict") or None
    except UnicodeDecodeError:
        return None
