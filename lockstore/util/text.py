"""Texts of users and operators: what may be shown, and what stands on one line. Pure, and without pydantic."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "is_one_line", "is_secret_name", "looks_like_name"]

_SECRETS = re.compile(r"pass|secret|token|credential|private|apikey|api_key", re.IGNORECASE)
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}")


def is_one_line(text: str) -> bool:
    """Return whether a text has no line end, no other control character, and no unpaired surrogate."""
    return _UNFIT.search(text) is None


def is_secret_name(name: str) -> bool:
    """Return whether an option of this name holds a secret."""
    return _SECRETS.search(name) is not None


def looks_like_name(text: str) -> bool:
    """Return whether a text may be shown as an option's name: part of a password may be where a name is expected."""
    return _NAME.fullmatch(text) is not None


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a suggestion for the most similar known name, with a prefix; "" if there is none."""
    near = get_close_matches(name.lower().replace("-", "_"), list(known), 1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
