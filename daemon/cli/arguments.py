"""Texts that are typed as arguments: ids and names. Whatever cannot be one is refused before anything is looked at."""

import os

from pydantic import TypeAdapter, ValidationError

from lockstore.core.commands import BY_MAX
from lockstore.errors import ConfigError
from lockstore.protocol.messages import CONVERSATION_ID_MAX_BYTES, ConversationId, Holder
from lockstore.util.validation import broken_rule

__all__ = ["conversation_id", "holder_name", "operator_name"]

_CONVERSATION_ID: TypeAdapter[str] = TypeAdapter(ConversationId)
_HOLDER: TypeAdapter[str] = TypeAdapter(Holder)


def conversation_id(text: str) -> str:
    """Give a conversation id as it was typed. Raises ConfigError for one that cannot be."""
    name = "CONVERSATION"
    text = _decoded(name, text)
    if len(text.encode()) > CONVERSATION_ID_MAX_BYTES:
        raise ConfigError(f"{name}: must be at most {CONVERSATION_ID_MAX_BYTES} bytes of UTF-8")
    return _checked(name, text, _CONVERSATION_ID)


def holder_name(text: str | None) -> str | None:
    """Give the name of `--holder`; None: it was not given. Raises ConfigError for one that cannot be."""
    if text is None:
        return None
    return _checked("--holder", _decoded("--holder", text), _HOLDER)


def operator_name(text: str | None) -> str | None:
    """Give the name of `--by`; None: it was not given. Raises ConfigError for one that cannot be."""
    if text is None:
        return None
    text = _decoded("--by", text)
    if not (0 < len(text) <= BY_MAX and text.isprintable()):
        raise ConfigError(f"--by: must be 1 to {BY_MAX} printable characters")
    return text


def _decoded(name: str, text: str) -> str:
    """Read the bytes that were typed as UTF-8, also where the locale has made them something else that is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(text).decode()
        except UnicodeError:
            raise ConfigError(f"{name}: is not UTF-8") from None
    return text


def _checked(name: str, text: str, kind: TypeAdapter[str]) -> str:
    if not text:
        raise ConfigError(f"{name}: must not be empty")
    try:
        return kind.validate_python(text)
    except ValidationError as error:
        raise ConfigError(broken_rule(error, name)) from None
