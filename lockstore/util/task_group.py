"""A task group that never loses a cancellation, and never leaves one behind.

The standard library's (up to Python 3.14) has two gaps: a child that fails while the group is already waiting for its
children cancels the parent and does not take that back, so that `Task.cancelling` counts a request that nobody made; and a
child's error takes the place of a cancellation from outside. Whoever relies on that count, as `CancelRequest` does, needs a
group that keeps it right.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from lockstore.util.cancellation import CancelRequest

__all__ = ["TaskGroup"]

T = TypeVar("T")


class TaskGroup:
    """Tasks that end together: the first to fail cancels the others and the body, and all errors are raised as a group.

    Differs from `asyncio.TaskGroup` in that a cancellation from outside has priority over the errors of the tasks.
    """

    def __init__(self) -> None:
        """Create a group without tasks; enter it before creating some."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []
        self._parent: asyncio.Task[Any] | None = None
        self._in_body = self._aborting = self._cancelled_body = False

    async def __aenter__(self) -> Self:
        """Start: the running task is the parent."""
        self._parent, self._request, self._in_body = asyncio.current_task(), CancelRequest(), True
        return self

    def create_task(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` as a task of this group. Raises RuntimeError once the group is ending because of an error."""
        if self._aborting or not (self._in_body or self._tasks):
            work.close()
            raise RuntimeError("the task group is not running, or is ending")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._errors.append(error)
        if self._aborting:
            return
        self._abort()
        if self._in_body and self._parent is not None:
            self._cancelled_body = True
            self._parent.cancel()

    def _abort(self) -> None:
        self._aborting = True
        for task in self._tasks:
            task.cancel()

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Wait for all tasks. Raises CancelledError if that was requested, and otherwise the errors as a group."""
        self._in_body = False
        if self._cancelled_body and self._parent is not None:
            self._parent.uncancel()
            await _receive_cancellation()
        if error is not None and not self._aborting:
            self._abort()
        await self._wait()
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self._errors.append(error)
        self._raise()

    async def _wait(self) -> None:
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError:
                # All tasks are waited for, however often this one is cancelled meanwhile.
                if not self._aborting:
                    self._abort()

    def _raise(self) -> None:
        errors, self._errors = self._errors, []
        for error in errors:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise error
        group = BaseExceptionGroup("unhandled errors in a task group", errors) if errors else None
        self._request.check(group)
        if group is not None:
            raise group from None


async def _receive_cancellation() -> None:
    """Take the cancellation of the body now, if the body ended before it arrived: the next await would raise it."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
