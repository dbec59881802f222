"""Which task runs the body of a lock that another task has entered, as far as that can be known.

It is the task that last used the ticket. Before anything has used it, it is the task that awaits the one that enters: that one
goes on with the lock as soon as it is entered.
"""

import asyncio
import gc
from functools import partial
from typing import Any

from lockstore.util.cancellation import cancelling, uncancel

__all__ = ["BodyTask"]

_DEPTH = 3  # from a task through the future of `wait_for` to the task that awaits it


class BodyTask:
    """The task that runs the body, in place of the one that entered."""

    __slots__ = ("_awaiting", "_before", "_entering", "_stopped", "_user")

    def __init__(self) -> None:
        """Create it in the task that enters."""
        self._entering = _running_task()
        self._awaiting: asyncio.Task[Any] | None = None
        self._user: asyncio.Task[Any] | None = None
        self._stopped: asyncio.Task[Any] | None = None
        self._before = 0

    def note_awaiting(self) -> None:
        """Remember the task that awaits the one that enters."""
        if self._entering is not None:
            self._awaiting = _awaiting(self._entering, _DEPTH)

    def note_use(self) -> None:
        """Remember the running task: it uses the ticket."""
        self._user = _running_task() or self._user

    def stop(self) -> bool:
        """Cancel the body's task, and return whether one is known."""
        for task in (self._user, self._awaiting):
            if task is not None and task is not self._entering and not task.done():
                self._stopped, self._before = task, cancelling(task)
                return task.cancel()
        return False

    def take_back(self) -> bool:
        """Take our cancellation of the running task back, and return whether it was the only one."""
        task = asyncio.current_task()
        if task is None or task is not self._stopped:
            return False
        self._stopped = None
        return uncancel(task) <= self._before


def _running_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


def _awaiting(future: "asyncio.Future[Any]", depth: int) -> "asyncio.Task[Any] | None":
    """Find who is woken by the end of a future. asyncio has no other way than to look at its callbacks."""
    for callback, _ in getattr(future, "_callbacks", None) or ():
        # A task's own wake-up refers to the task; `wait_for` before Python 3.12 wakes another future, through a partial.
        behind = callback.args if isinstance(callback, partial) else gc.get_referents(callback)
        for each in behind:
            if isinstance(each, asyncio.Task):
                return each
            if isinstance(each, asyncio.Future) and depth > 1 and (found := _awaiting(each, depth - 1)) is not None:
                return found
    return None
