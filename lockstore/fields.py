"""What the pydantic models of options and messages share: kinds of field, and how a broken rule is told."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationError

__all__ = ["ExistingFile", "broken_rule"]

_VERDICTS = {
    "string_pattern_mismatch": "must not contain control characters",
    "union_tag_invalid": "type: must be one of request, release, renew",
    "union_tag_not_found": "type: must be one of request, release, renew",
}
"""In plain words, what pydantic says by repeating a pattern or its own names."""


def _exists(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return path


ExistingFile = Annotated[Path, AfterValidator(_exists)]
"""A path that stops the start, named, when there is no such file."""


def broken_rule(error: ValidationError, *within: str, skip: int = 0) -> str:
    """Name the first field at fault and the rule that it breaks: `section.field: rule`.

    `within`: what to put before the field's own place; `skip`: how many parts of that place are not the sender's words.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    rule = _VERDICTS.get(first["type"], first["msg"].removeprefix("Value error, "))
    if first["type"].startswith("union_tag"):
        return rule
    place = ".".join([*within, *(str(part) for part in first["loc"][skip:])])
    return f"{place or 'body'}: {rule}"
