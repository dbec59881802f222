"""Parses a request's path and query."""

from aiohttp import web

from daemon.http.status_page.urls import conversation_id_of

__all__ = ["AskedError", "conversation_id", "only", "search_text", "whole_number"]

_TEXT_MOST = 200  # characters; the protocol allows no longer conversation id


class AskedError(Exception):
    """An invalid request; the text explains why."""


def only(request: web.Request, *names: str) -> None:
    """Reject other parameters: a misspelt one must not be ignored."""
    for name in request.query:
        if name not in names:
            known = f"known parameters: {', '.join(names)}" if names else "there are no parameters"
            message = f"{name[:_TEXT_MOST]}: unknown parameter; {known}"
            raise AskedError(message)


def whole_number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """Return an integer parameter within bounds."""
    given = request.query.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(most)) and least <= int(given) <= most):
        message = f"{name}: must be a whole number from {least} to {most}"
        raise AskedError(message)
    return int(given)


def search_text(request: web.Request, name: str) -> str:
    """Return the search text; "" if absent."""
    text = request.query.get(name, "")
    if len(text) > _TEXT_MOST:
        message = f"{name}: must be at most {_TEXT_MOST} characters"
        raise AskedError(message)
    return text


def conversation_id(request: web.Request, folder: str) -> str:
    """Return the conversation id after a folder in the path, or in the query."""
    found = conversation_id_of(request.rel_url.raw_path, folder) or request.query.get("id")
    if not found:
        raise AskedError("the conversation id is missing, or not UTF-8")
    return found
