"""Who ended what is awaited: whoever cancelled this task, or the library that awaits on its behalf.

A cancellation can get lost. aiormq cancels what waits on a channel that closes, and raises the channel's end in place of a
cancellation that comes at the same moment; `asyncio.wait_for` and the task group of Python 3.11 and 3.12 prefer a result, or
another task's error. But a task counts the requests to end (`Task.cancelling`), and that count can be relied on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

__all__ = ["CancelRequest", "keep_cancellation", "try_within"]

T = TypeVar("T")
P = ParamSpec("P")


class CancelRequest:
    """Whether the running task was asked to end since this was made."""

    __slots__ = ("_before", "_task")

    def __init__(self) -> None:
        """Begin in the task that is looked after."""
        self._task = asyncio.current_task()
        self._before = 0
        if (
            self._task is not None
        ):  # one that the task has not been told of yet, since it runs just now, is still to come
            self._before = self._task.cancelling() - bool(getattr(self._task, "_must_cancel", False))

    @property
    def is_made(self) -> bool:
        """Whether somebody has asked."""
        return self._task is not None and self._task.cancelling() > self._before

    def check(self, instead_of: BaseException | None = None) -> None:
        """Raise CancelledError where somebody has asked, also if what was awaited has kept it to itself."""
        if self.is_made:
            raise asyncio.CancelledError from instead_of


async def keep_cancellation(
    lost: Callable[[], Exception], work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Await `work`, called here so that a task that is cancelled before it begins has begun nothing, and end as cancelled if and only if this task was cancelled.

    A CancelledError that nobody asked this task for becomes the error that `lost` makes: a task group would take the one
    that raises it for a task that has ended well.
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
    """Tell whether a farewell was done in time. Whatever it hangs on, and whether it heeds a cancellation, this goes on."""
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
        task.exception()  # of one that nobody waits for any more
