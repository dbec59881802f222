"""Checks that the task that enters a lock can run its body, because only that task is cancelled when the lease is lost."""

import asyncio
import sys
from inspect import CO_COROUTINE
from types import FrameType
from typing import Any

from lockstore.errors import LockError

__all__ = ["check_entering_task"]


def check_entering_task() -> None:
    """Raise LockError outside of a task, and in a task that ends as soon as the lock is entered.

    Such a task consists only of coroutines of contextlib and of this client. Before Python 3.12 `asyncio.wait_for` creates one.
    """
    task = asyncio.current_task()
    if task is None:
        raise LockError("a lock must be entered in a task, which is cancelled when the lease is lost")
    coroutine: Any = task.get_coro()
    root = getattr(coroutine, "cr_frame", None)
    if root is not None and _ends_on_entry(root):
        raise LockError(
            "the task that enters this lock ends at once, so its body could not be stopped when the lease is lost:"
            " enter it in the task that runs the body, with `wait=...` or `async with asyncio.timeout(...)` in place of asyncio.wait_for"
        )


def _ends_on_entry(root: FrameType) -> bool:
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - the only way to find the awaiting coroutine
    while frame is not None:
        if frame.f_code.co_flags & CO_COROUTINE and not _is_passing_through(frame):
            return False
        if frame is root:
            return True
        frame = frame.f_back
    return False  # the task's outermost coroutine is not a Python coroutine, so this cannot be determined


def _is_passing_through(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name == "contextlib" or (name.startswith("lockstore.client") and name != "lockstore.client.background")
