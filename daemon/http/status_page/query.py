"""What a request asks for: reading its path and its query, and saying what is wrong with them."""

from aiohttp import web

from daemon.http.status_page.urls import conversation_id_of

__all__ = ["AskedError", "conversation_id", "only", "search_text", "whole_number"]

_TEXT_MOST = 200  # characters: no conversation id of the protocol is longer


class AskedError(Exception):
    """What was asked makes no sense; the text says why."""


def only(request: web.Request, *names: str) -> None:
    """Refuse parameters of other names: one that is misspelt must not pass as one that is absent."""
    for name in request.query:
        if name not in names:
            known = f"known here: {', '.join(names)}" if names else "none is known here"
            message = f"{name[:_TEXT_MOST]}: unknown parameter; {known}"
            raise AskedError(message)


def whole_number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """Read a number within bounds."""
    given = request.query.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(most)) and least <= int(given) <= most):
        message = f"{name}: must be a whole number from {least} to {most}"
        raise AskedError(message)
    return int(given)


def search_text(request: web.Request, name: str) -> str:
    """Read a text to look for; "" is none."""
    text = request.query.get(name, "")
    if len(text) > _TEXT_MOST:
        message = f"{name}: must be at most {_TEXT_MOST} characters"
        raise AskedError(message)
    return text


def conversation_id(request: web.Request, folder: str) -> str:
    """Read the conversation id that follows a folder in the path, or that stands in the query."""
    found = conversation_id_of(request.rel_url.raw_path, folder) or request.query.get("id")
    if not found:
        raise AskedError("no conversation is named, or not in UTF-8")
    return found
