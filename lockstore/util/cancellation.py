"""Determines whether a task was cancelled, or a library cancelled an awaited future on its behalf.

A cancellation can be lost. aiormq cancels futures when a channel closes, and raises the channel's end instead of a
simultaneous cancellation; `asyncio.wait_for`, and the task group of Python 3.11 and 3.12, prefer a result or another task's
error. A task's count of cancellation requests (`Task.cancelling`) is reliable. Python 3.10 has none: `cancelling` counts there
itself, from its first use for a task on.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

__all__ = ["CancelRequest", "cancelling", "keep_cancellation", "try_within", "uncancel"]

T = TypeVar("T")
P = ParamSpec("P")


if sys.version_info >= (3, 11):

    def cancelling(task: "asyncio.Task[Any]") -> int:
        """Return how often the cancellation of a task was requested, less what was taken back."""
        return task.cancelling()

    def uncancel(task: "asyncio.Task[Any]") -> int:
        """Take one request back, and return how many are left."""
        return task.uncancel()

else:

    class _CountedCancel:
        """Takes the place of one task's method `cancel`, which everybody calls who wants to cancel it, asyncio too."""

        __slots__ = ("_cancel", "_task", "requests")

        def __init__(self, task: "asyncio.Task[Any]") -> None:
            self._task = task
            self._cancel = task.cancel
            self.requests = int(bool(getattr(task, "_must_cancel", False)))

        def __call__(self, msg: Any = None) -> bool:
            if self._task.done():
                return False
            self.requests += 1
            return self._cancel(msg)

    def _counted(task: "asyncio.Task[Any]") -> _CountedCancel:
        if not isinstance(task.cancel, _CountedCancel):
            task.cancel = _CountedCancel(task)  # type: ignore[method-assign]
        return task.cancel  # type: ignore[return-value]

    def cancelling(task: "asyncio.Task[Any]") -> int:
        """Return how often the cancellation of a task was requested since the first call, less what was taken back."""
        return _counted(task).requests

    def uncancel(task: "asyncio.Task[Any]") -> int:
        """Take one request back, and return how many are left."""
        counted = _counted(task)
        counted.requests = max(0, counted.requests - 1)
        return counted.requests


class CancelRequest:
    """Whether the running task was cancelled since this object was created."""

    __slots__ = ("_before", "_task")

    def __init__(self) -> None:
        """Start watching the running task."""
        self._task = asyncio.current_task()
        self._before = 0
        # A request that has not been delivered yet, because the task is running, counts as a new one.
        if self._task is not None:
            self._before = cancelling(self._task) - bool(getattr(self._task, "_must_cancel", False))

    @property
    def is_made(self) -> bool:
        """Whether a cancellation was requested."""
        return self._task is not None and cancelling(self._task) > self._before

    def check(self, instead_of: BaseException | None = None) -> None:
        """Raise CancelledError if a cancellation was requested, even if the awaited call swallowed it."""
        if self.is_made:
            raise asyncio.CancelledError from instead_of


async def keep_cancellation(
    lost: Callable[[], Exception], work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Await `work`, and end as cancelled if and only if this task was cancelled.

    `work` is called here, so that nothing has started in a task that is cancelled before it begins. A CancelledError that was
    not requested becomes the error that `lost` creates: a task group would consider a task that raises it successful.
    """
    request = CancelRequest()
    try:
        result = await work(*args, **kwargs)
    except asyncio.CancelledError:
        if request.is_made:
            raise
        raise lost() from None
    except Exception as error:
        request.check(error)
        raise
    request.check()
    return result


async def try_within(limit_s: float, work: Coroutine[Any, Any, T]) -> bool:
    """Return whether a closing step finished in time. Continues even if it hangs and ignores its cancellation."""
    task = asyncio.create_task(work)
    task.add_done_callback(_retrieve)
    try:
        await asyncio.wait({task}, timeout=limit_s)
    finally:
        is_done = task.done()
        task.cancel()
    if is_done:
        task.result()
    return is_done


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # retrieved, since no caller awaits the task any more
