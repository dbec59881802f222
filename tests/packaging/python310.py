"""What the tests and the harness use of Python 3.11, for an environment that has 3.10: `give_to_tests` puts it where they look.

lockstore must do without: whichever of its modules calls one of these fails.
"""

import asyncio
import builtins
import datetime as dt
import enum
import sys
import typing
from collections.abc import Callable
from importlib import import_module
from typing import Any


def give_to_tests() -> None:
    """Add what is missing. Call it before the tests are imported."""
    from lockstore.util.timeouts import Timeout, timeout

    groups = import_module("exceptiongroup")  # that pytest brings there
    missing: list[tuple[Any, str, Any]] = [
        (asyncio, "timeout", _for_others(timeout)),
        (asyncio, "Timeout", Timeout),
        (builtins, "ExceptionGroup", groups.ExceptionGroup),
        (builtins, "BaseExceptionGroup", groups.BaseExceptionGroup),
        (dt, "UTC", dt.timezone.utc),
        (enum, "StrEnum", _StrEnum),
        (typing, "Self", Any),
    ]
    for module, name, thing in missing:
        setattr(module, name, thing)


def _for_others(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*args: Any) -> Any:
        caller = sys._getframe(1).f_globals["__name__"]
        assert not caller.startswith("lockstore"), f"{caller} uses what Python 3.10 does not have"
        return function(*args)

    return checked


class _StrEnum(str, enum.Enum):
    __str__ = str.__str__
