"""Shared pydantic field types of options and messages, and the reporting of validation errors.

Numbers and booleans may be given as text, as files, environment variables and credentials do.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_core import ErrorDetails

from lockstore.util.text import did_you_mean, is_one_line

__all__ = [
    "NUMBER_MAX",
    "ExistingFile",
    "Number",
    "Switch",
    "WholeNumber",
    "as_number",
    "broken_rule",
    "without_control_characters",
]

NUMBER_MAX = 1_000_000_000
"""The largest number that an option accepts; as seconds it is 31 years. It is still exact in milliseconds."""

_TOO_LARGE = f"must be at most {NUMBER_MAX}"
_DIGITS_MAX = 18  # of a text, before it is converted
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_UNLIMITED = re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.IGNORECASE)
_TRAILED = re.compile(r"[-+.0-9]+([^\w\s.])")
_WITH_UNIT = re.compile(r"[-+.0-9]+\s*(?:ms|s|sec|secs|seconds?|m|min|minutes?|h|hours?|d|days?)", re.IGNORECASE)
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

_FIXED_RULES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_type": "must be a whole number",
    "mapping_type": "must be an object",
    "missing": "is required",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "path_type": "must be the path of a file",
    "string_pattern_mismatch": "must not contain control characters",
    "string_type": "must be a text",
    "string_unicode": "must be a text of valid Unicode",
    "union_tag_invalid": "type: must be one of request, release, renew",
    "union_tag_not_found": "type: must be one of request, release, renew",
}
_BOUND_RULES = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "literal_error": "must be {expected}",
    "json_invalid": "not valid JSON: {error}",
}


def _check_exists(path: Path) -> Path:
    try:
        found = is_one_line(str(path)) and path.is_file()
    except OSError:  # the name is too long
        found = False
    if not found:
        # The path is shown only if it looks like one: a password may have been entered here by mistake.
        shown = str(path)
        named = f": {shown}" if "/" in shown and "://" not in shown and "@" not in shown and shown.isprintable() else ""
        raise ValueError(f"no such file{named}")
    return path


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, and not true or false")  # noqa: TRY004 - pydantic reports a ValueError as a validation error
    if not isinstance(value, str):
        return value
    if not _WHOLE.fullmatch(value):
        raise ValueError(f"must be a whole number in plain digits{_fault_of(value)}")
    if len(value) > _DIGITS_MAX:
        raise ValueError(_TOO_LARGE)
    return int(value)


def _check_size(number: float) -> float:
    if NUMBER_MAX < abs(number) < float("inf"):
        raise ValueError(_TOO_LARGE)
    return number


def _decimal_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, and not true or false")  # noqa: TRY004 - as above
    return as_number(value) if isinstance(value, str) else value


def as_number(text: str) -> float:
    """Parse a number in decimal notation, such as 2.5 or 1e3. Raises ValueError, without repeating the text."""
    if _UNLIMITED.fullmatch(text):
        raise ValueError("must be a finite number")
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"must be a number in plain digits{_fault_of(text)}")
    number = float(text)
    if abs(number) == float("inf"):
        raise ValueError("must be a finite number")
    return number


def _fault_of(text: str) -> str:
    """Describe why a text is not a number, revealing at most one character of it."""
    if text.strip() != text:
        return ", without surrounding spaces or line ends"
    if trailed := _TRAILED.fullmatch(text):
        return f', without the "{trailed[1]}" after them'
    if _WITH_UNIT.fullmatch(text):
        return ", without a unit"
    if re.fullmatch(r"[-+]?0[0-9]+(?:\.[0-9]*)?", text):
        return ", without a leading 0"
    return ""


def _switch(value: Any) -> Any:
    if isinstance(value, str):
        meant = _SWITCHES.get(value.lower())
        if meant is None:
            raise ValueError("must be true or false")
        return meant
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - as above
    return value


def without_control_characters(value: str) -> str:
    """Return the text if it is a single line. Raises ValueError for others, such as one with a file's line end."""
    if not is_one_line(value):
        raise ValueError("must not contain control characters such as a line end")
    return value


ExistingFile = Annotated[Path, AfterValidator(_check_exists)]
"""A path to an existing file; a missing one is a validation error that shows the path."""

Number = Annotated[float, BeforeValidator(_decimal_number), AfterValidator(_check_size)]
WholeNumber = Annotated[int, BeforeValidator(_whole_number), AfterValidator(_check_size)]
Switch = Annotated[bool, BeforeValidator(_switch)]


def broken_rule(
    error: ValidationError, *within: str, skip: int = 0, known: Mapping[str, Iterable[str]] | None = None
) -> str:
    """Return the first invalid field and the rule, as `section.field: rule`, without showing a value.

    `within`: prefix of the field's location. `skip`: number of leading parts of the location that the sender did not write.
    `known`: known names by the name before them, for suggestions.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"].startswith("union_tag"):
        return _FIXED_RULES[first["type"]]
    whole = [*within, *(str(part) for part in first["loc"])]
    shown = [*within, *(str(part) for part in first["loc"][skip:])]
    if first["type"] == "extra_forbidden":
        near = (known or {}).get(whole[-2] if len(whole) > 1 else "", ())
        rule = f"is unknown{did_you_mean(whole[-1], near, ''.join(f'{part}.' for part in shown[:-1]))}"
    else:
        rule = _rule(first)
    return f"{'.'.join(shown) or 'body'}: {rule}"


def _rule(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    if kind in ("string_too_short", "too_short") and context["min_length"] == 1:
        return "must not be empty"
    if kind in _BOUND_RULES:
        return _BOUND_RULES[kind].format_map(context)
    return _FIXED_RULES.get(kind, "is invalid")
