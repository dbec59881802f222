"""Rasa's base class of lock stores and its `LockError`. Rasa need not be installed to import this."""

from importlib import import_module
from typing import Any

from lockstore.errors import ConfigError

__all__ = ["lock_store_base", "rasa_lock_error"]

_HOME = "rasa.core.lock_store"


def lock_store_base() -> Any:
    """Return Rasa's `LockStore`, so that our stores pass for one; without Rasa, `object`."""
    try:
        return import_module(_HOME).LockStore
    except ImportError:
        return object


def rasa_lock_error(name: str) -> type[Exception]:
    """Return Rasa's `LockError`. Raises ConfigError without Rasa. `name`: the store that needs it."""
    try:
        error: type[Exception] = import_module(_HOME).LockError
    except ImportError as cause:
        raise ConfigError(
            f"lock_store.type: {name} is for a Rasa server, and Rasa cannot be imported here ({cause}):"
            " use lockstore.LockClient in other programs"
        ) from cause
    return error
