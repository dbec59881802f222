"""The messages of docs/protocol.md that a daemon sends, as pydantic models. For the schemas alone: a daemon checks none of them."""

from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import SkipJsonSchema

from lockstore.protocol.messages import OUTBOUND_TYPES

__all__ = ["OUTBOUND_MODELS"]


def _as_model(message: type[Any]) -> type[BaseModel]:
    """Make a model of an answer's or an event's class: open, as readers of today must accept fields added later."""
    hints = get_type_hints(message, include_extras=True)
    own: dict[str, Any] = {}
    for each in fields(message):
        default = ... if each.default is MISSING else each.default
        own[each.name] = (_with_field(hints[each.name]), default)
    model: type[BaseModel] = create_model(message.__name__, __doc__=message.__doc__, **own)
    return model


_NeverSent = SkipJsonSchema[None]  # it means that the field is absent


def _with_field(hint: Any) -> Any:
    if get_origin(hint) in {Union, UnionType}:
        return Union[tuple(map(_with_field, get_args(hint)))]  # noqa: UP007 - of types that are known only now
    if get_origin(hint) is not Annotated:
        return hint
    inner, rule = get_args(hint)[:2]
    inner = _with_field(inner)
    if rule.is_never_null:
        [inner] = (each for each in get_args(inner) if each is not NoneType)
        inner |= _NeverSent
    return Annotated[inner, Field(title=rule.title or None, description=rule.description or None, ge=rule.at_least)]


OUTBOUND_MODELS: dict[str, type[BaseModel]] = {kind: _as_model(each) for kind, each in OUTBOUND_TYPES.items()}
