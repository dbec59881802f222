"""Where things are: from a conversation id to the place of its page, and back. Pure.

Places are relative, so that a proxy may put everything below a path of its own.
"""

from urllib.parse import quote, unquote

__all__ = ["conversation_id_of", "conversation_place"]

_FOLDER = "conversations/"
_TURNED = frozenset({".", ".."})  # a browser takes them for steps up, also when they are percent-encoded
_REFUSED = frozenset(map(chr, range(32))) | {"/", "\\"}  # proxies decode, turn, join or refuse these in a path


def conversation_place(conversation_id: str) -> str:
    """Give the place of a conversation, seen from the root. What a path may not keep as it is goes into the query."""
    encoded = quote(conversation_id, safe="")
    in_path = conversation_id not in _TURNED and not _REFUSED.intersection(conversation_id)
    return f"{_FOLDER}{encoded}" if in_path and encoded else f"{_FOLDER}?id={encoded}"


def conversation_id_of(raw_path: str, folder: str) -> str | None:
    """Read the conversation id from a path as it came, encoded; None: it names none, or none that is UTF-8."""
    _, _, encoded = raw_path.partition(f"/{folder}")
    try:
        return unquote(encoded, errors="strict") or None
    except UnicodeDecodeError:
        return None
