"""A lock store of the user's own: found by its module path, built from its section."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lockstore.errors import ConfigError
from lockstore.store import LockStore

__all__ = ["EndpointConfig", "build"]

_REQUIRED = ("get_lock", "save_lock", "delete_lock")


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """The section in the shape that Rasa passes to a custom store: `url` and `type` by name, all else in `kwargs`."""

    url: str | None = None
    type: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)


def _find(path: str) -> type[LockStore]:
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        message = f"lock_store.type: cannot import {module_name!r}: {error}"
        raise ConfigError(message) from error
    except AttributeError as error:
        message = f"lock_store.type: module {module_name!r} has no {class_name!r}"
        raise ConfigError(message) from error
    if not (inspect.isclass(found) and issubclass(found, LockStore)):
        message = f"lock_store.type: {path} is not a class derived from lockstore.LockStore"
        raise ConfigError(message)
    missing = [name for name in _REQUIRED if getattr(found, name) is getattr(LockStore, name)]
    if missing:
        message = f"lock_store.type: {path} does not define {', '.join(missing)}"
        raise ConfigError(message)
    return found


def build(path: str, section: Mapping[str, Any]) -> LockStore:
    """Import the class and give it its section: as `endpoint_config` where its constructor asks for that, else by name."""
    store_class = _find(path)
    options = {name: value for name, value in section.items() if name != "type"}
    try:
        if "endpoint_config" in inspect.signature(store_class).parameters:
            kwargs = {name: value for name, value in options.items() if name != "url"}
            arguments: dict[str, Any] = {"endpoint_config": EndpointConfig(options.get("url"), path, kwargs)}
        else:
            arguments = options
        inspect.signature(store_class).bind(**arguments)
    except TypeError as error:
        message = f"lock_store: {path} does not take these keys: {error}"
        raise ConfigError(message) from error
    try:
        return store_class(**arguments)
    except ConfigError:
        raise
    except Exception as error:
        message = f"lock_store: {path} could not be built: {type(error).__name__}: {error}"
        raise ConfigError(message) from error
