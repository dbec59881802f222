"""Calling what a store's author wrote, sync or async; whatever that raises becomes an error of ours."""

import inspect
from collections.abc import Callable
from typing import Any

from lockstore.errors import LockstoreError, StoreUnavailableError

__all__ = ["call_maybe_async"]


async def call_maybe_async(method: Callable[..., Any], *arguments: Any) -> Any:
    """Call a method that a store's author wrote, sync or async. What it raises, other than our own errors, may pass."""
    try:
        answer = method(*arguments)
        return await answer if inspect.isawaitable(answer) else answer
    except LockstoreError:
        raise
    except Exception as error:
        message = f"{method.__qualname__}: {type(error).__name__}: {error}"
        raise StoreUnavailableError(message) from error
