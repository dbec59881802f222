"""Rasa's base class of lock stores and its `LockError`. Rasa need not be installed to import this."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from lockstore.errors import ConfigError, LockstoreError

__all__ = ["LockErrors", "lock_store_base", "rasa_lock_error"]

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


class LockErrors:
    """Turns the errors of taking and losing one lock into Rasa's, and leaves those of its body alone."""

    def __init__(self, lock_error: type[Exception], conversation_id: str) -> None:
        self._lock_error = lock_error
        self._conversation_id = conversation_id
        self._of_body: BaseException | None = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Surround the lock with this."""
        try:
            yield
        except LockstoreError as error:
            if error is self._of_body:
                raise
            raise self._lock_error(f"The lock of conversation '{self._conversation_id}': {error}") from error

    @contextmanager
    def of_body(self) -> Iterator[None]:
        """Surround its body with this."""
        try:
            yield
        except BaseException as error:
            self._of_body = error
            raise
