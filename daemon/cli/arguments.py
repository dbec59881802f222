"""Validates ids and names typed as arguments, before anything is read."""

import os
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from lockstore.core.commands import BY_MAX
from lockstore.errors import ConfigError
from lockstore.protocol.limits import CONVERSATION_ID_MAX_BYTES
from lockstore.protocol.models import ConversationId, Holder
from lockstore.util.validation import broken_rule

__all__ = ["conversation_id", "daemon_url", "holder_name", "operator_name"]

_CONVERSATION_ID: TypeAdapter[str] = TypeAdapter(ConversationId)
_HOLDER: TypeAdapter[str] = TypeAdapter(Holder)


def conversation_id(text: str) -> str:
    """Return a conversation id. Raises ConfigError if it is invalid."""
    name = "CONVERSATION"
    text = _decoded(name, text)
    if len(text.encode()) > CONVERSATION_ID_MAX_BYTES:
        raise ConfigError(f"{name}: must be at most {CONVERSATION_ID_MAX_BYTES} bytes of UTF-8")
    return _checked(name, text, _CONVERSATION_ID)


def holder_name(text: str | None) -> str | None:
    """Return the name of `--holder`; None if absent. Raises ConfigError if it is invalid."""
    if text is None:
        return None
    return _checked("--holder", _decoded("--holder", text), _HOLDER)


def operator_name(text: str | None) -> str | None:
    """Return the name of `--by`; None if absent. Raises ConfigError if it is invalid."""
    if text is None:
        return None
    text = _decoded("--by", text)
    if not (0 < len(text) <= BY_MAX and text.isprintable()):
        raise ConfigError(f"--by: must be 1 to {BY_MAX} printable characters")
    return text


def daemon_url(text: str | None) -> str | None:
    """Return the address of `--daemon`; None if absent. Raises ConfigError if it is invalid."""
    if text is None:
        return None
    text = _decoded("--daemon", text)
    try:
        url = urlsplit(text)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_url = False
    if not is_url or " " in text or not text.isprintable():
        raise ConfigError("--daemon: must be a URL such as http://127.0.0.1:8470")
    return text


def _decoded(name: str, text: str) -> str:
    """Decode the typed bytes as UTF-8, even if the locale has decoded them differently."""
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
