"""Calls to methods that a custom store may implement as sync or async, with their errors translated."""

import inspect
from collections.abc import Callable
from typing import Any

from lockstore.errors import LockstoreError, StoreUnavailableError

__all__ = ["call_maybe_async"]


async def call_maybe_async(method: Callable[..., Any], *arguments: Any) -> Any:
    """Call a method that may be sync or async. Errors other than ours become StoreUnavailableError, which callers retry."""
    try:
        answer = method(*arguments)
        return await answer if inspect.isawaitable(answer) else answer
    except LockstoreError:
        raise
    except Exception as error:
        message = f"{method.__qualname__}: {type(error).__name__}: {error}"
        raise StoreUnavailableError(message) from error
