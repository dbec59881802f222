"""Reads answers and events, and checks them against the fields of `lockstore.protocol.messages`. Pure, and without pydantic."""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import cache, partial
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from lockstore.protocol.messages import OUTBOUND_TYPES, Outbound, Rule

__all__ = ["InvalidMessageError", "parse_fields", "read_outbound"]

_Check = Callable[[Any], Any]


class InvalidMessageError(ValueError):
    """Not an answer or an event of the protocol. Its text names the field and the rule, and quotes nothing of the message."""


def read_outbound(body: bytes) -> Outbound:
    """Read a message. Raises InvalidMessageError."""
    try:
        data = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidMessageError("body: is not valid JSON") from None
    if not isinstance(data, dict):
        raise InvalidMessageError("body: must be an object")
    return parse_fields(data)


def parse_fields(data: Mapping[str, Any]) -> Outbound:
    """Make a message of its fields; unknown ones are left out. Raises InvalidMessageError."""
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in OUTBOUND_TYPES:
        raise InvalidMessageError("its type is unknown")
    given: dict[str, Any] = {}
    for name, check, is_required in _checks(kind):
        if name in data:
            try:
                given[name] = check(data[name])
            except ValueError as error:
                raise InvalidMessageError(f"{name}: {error}") from None
        elif is_required:
            raise InvalidMessageError(f"{name}: is required")
    return OUTBOUND_TYPES[kind](**given)


@cache
def _checks(kind: str) -> tuple[tuple[str, _Check, bool], ...]:
    """Return name, check and whether it is required, for each field of a message."""
    model = OUTBOUND_TYPES[kind]
    hints = get_type_hints(model, include_extras=True)
    return tuple((each.name, _check_of(hints[each.name]), each.default is MISSING) for each in fields(model))


def _check_of(hint: Any) -> _Check:
    """Return what checks a value of this type, and returns it. It raises ValueError with the rule."""
    if get_origin(hint) is Annotated:
        inner, rule = get_args(hint)[:2]
        if rule.is_never_null:
            [inner] = (each for each in get_args(inner) if each is not NoneType)
        return partial(_not_less, _check_of(inner), rule)
    if get_origin(hint) is Literal:
        return partial(_choice, get_args(hint))
    if hint in _OF_TYPE:
        return _OF_TYPE[hint]
    [inner] = (each for each in get_args(hint) if each is not NoneType)
    return partial(_optional, _check_of(inner))


def _not_less(check: _Check, rule: Rule, value: Any) -> Any:
    checked = check(value)
    if rule.at_least is not None and checked < rule.at_least:
        raise ValueError(f"must be {rule.at_least} or more")
    return checked


def _optional(check: _Check, value: Any) -> Any:
    return None if value is None else check(value)


def _choice(choices: tuple[str, ...], value: Any) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - one kind of error for everything that is invalid
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be a text of valid Unicode") from None
    return value


def _whole_number(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 7.0 is a whole number in JSON
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")  # noqa: TRY004 - as above
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a number")  # noqa: TRY004 - as above
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large a number") from None


_OF_TYPE: dict[Any, _Check] = {str: _text, int: _whole_number, float: _number}


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads as numbers although JSON has neither."""
    raise ValueError(constant)
