"""Custom lock stores: imported by module path, built from their configuration section."""

import importlib
import inspect
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from lockstore.errors import ConfigError
from lockstore.stores.base import LockStore
from lockstore.util.text import is_secret_name

__all__ = ["EndpointConfig", "build"]

_REQUIRED = ("get_lock", "save_lock", "delete_lock")
_PASSWORD_IN_URL = re.compile(r"//[^:/@]*:([^@]+)@")
_RASAS_SHAPE = "endpoint_config"  # the constructor parameter that receives the section the way Rasa passes it


class EndpointConfig:
    """The section as Rasa passes it to a custom store: Rasa's own options as attributes, all others in `kwargs`."""

    def __init__(self, url: str | None = None, **section: Any) -> None:
        self.url = url
        self.params: dict[str, Any] = section.pop("params", None) or {}
        self.headers: dict[str, Any] = section.pop("headers", None) or {}
        self.basic_auth: dict[str, str] = section.pop("basic_auth", None) or {}
        self.token: str | None = section.pop("token", None)
        self.token_name: str = section.pop("token_name", "token")
        self.cafile: str | None = section.pop("cafile", None)
        self.type: str | None = section.pop("type", None)
        self.kwargs: dict[str, Any] = section


def build(path: str, section: Mapping[str, Any]) -> LockStore:
    """Import the class and pass it its section: as `endpoint_config` if the constructor has that parameter, else by keyword."""
    store_class = _find(path)
    parameters = inspect.signature(store_class).parameters
    if _RASAS_SHAPE in parameters:
        arguments: dict[str, Any] = {_RASAS_SHAPE: EndpointConfig(**{**section, "type": path})}
    else:
        arguments = {name: value for name, value in section.items() if name != "type"}
    if faults := _misfits(parameters, arguments):
        raise ConfigError(f"lock_store: {path} does not take these keys: {'; '.join(faults)}")
    try:
        return store_class(**arguments)
    except ConfigError:
        raise
    except Exception as error:
        description = _without_values(f"{type(error).__name__}: {error}", section)
        raise ConfigError(f"lock_store: {path} could not be built: {description}") from error


def _without_values(text: str, section: Mapping[str, Any]) -> str:
    """Remove possible secrets from an error message of the class: every text value of its section, at any depth."""
    for secret in sorted(_secrets_of(section), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets_of(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets_of(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_of(item, name)
    elif isinstance(value, str) and value and (is_secret_name(name) or "@" in value):
        yield value
        if found := _PASSWORD_IN_URL.search(value):
            yield found[1]
            yield unquote(found[1])


def _find(path: str) -> type[LockStore]:
    if not all(path.split(".")):
        raise ConfigError(f"lock_store.type: must be path.to.module.Class, not {path!r}")
    module_name, _, class_name = path.rpartition(".")
    found = getattr(_imported(module_name), class_name, None)
    if found is None:
        raise ConfigError(f"lock_store.type: module {module_name!r} has no {class_name!r}")
    if not (inspect.isclass(found) and issubclass(found, LockStore)):
        raise ConfigError(f"lock_store.type: {path} is not a class derived from lockstore.LockStore{_hint(found)}")
    missing = [name for name in _REQUIRED if getattr(found, name) is getattr(LockStore, name)]
    missing += sorted(getattr(found, "__abstractmethods__", frozenset()) - set(missing))
    if missing:
        raise ConfigError(f"lock_store.type: {path} does not define {', '.join(missing)}")
    return found


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # importing a user's module may raise anything
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            # The module or one of its packages was not found. Any other name belongs to an import inside the module.
            message = f"lock_store.type: cannot import {name!r}: {error}; modules are searched in sys.path, which PYTHONPATH extends"
        else:
            description = f"{type(error).__name__}: {error}{_place(error)}"
            message = f"lock_store.type: {name!r} was found, but importing it failed: {description}"
        raise ConfigError(message) from error


def _place(error: BaseException) -> str:
    """Return where the module's own code failed. A SyntaxError already contains this."""
    if isinstance(error, SyntaxError):
        return ""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen importlib")
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _hint(found: object) -> str:
    """Name the foreign base class, if the class derives from another LockStore such as Rasa's."""
    for base in inspect.getmro(found) if inspect.isclass(found) else ():
        if base.__name__ == LockStore.__name__:
            return f", but from {base.__module__}.{base.__name__}"
    return ""


def _misfits(parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> list[str]:
    """List the keys that the constructor does not accept, and the required ones that are missing."""
    kinds = {parameter.kind for parameter in parameters.values()}
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    unknown = [] if inspect.Parameter.VAR_KEYWORD in kinds else [name for name in arguments if name not in named]
    missing = [
        name for name, parameter in named.items() if parameter.default is parameter.empty and name not in arguments
    ]
    faults = []
    if unknown:
        faults.append(f"unknown keys: {_listed(unknown)}" + (f" (accepted: {_listed(named)})" if named else ""))
    if missing:
        faults.append(f"missing keys: {_listed(missing)}")
    if missing and _RASAS_SHAPE in arguments:
        faults.append(
            f"its constructor must accept {_RASAS_SHAPE!r}, which contains all keys, as its only required argument"
        )
    return faults


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
