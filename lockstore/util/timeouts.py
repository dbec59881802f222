"""`timeout` and `timeout_at` of asyncio, on Python 3.10 too, which has neither.

A scope takes only its own cancellation back: one from outside is never lost, also if it arrives together with the end of the
time. On Python 3.10 that needs the count of requests in `lockstore.util.cancellation`.
"""

import asyncio
import sys

__all__ = ["Timeout", "timeout", "timeout_at"]

if sys.version_info >= (3, 11):
    from asyncio import Timeout, timeout, timeout_at
else:
    from types import TracebackType
    from typing import TYPE_CHECKING

    from lockstore.util.cancellation import cancelling, uncancel

    if TYPE_CHECKING:
        from typing_extensions import Self

    class Timeout:
        """Cancels the task that entered once the time has come, and turns that into TimeoutError at its end."""

        def __init__(self, when: float | None) -> None:
            """Use the time of the event loop's clock; None: no limit for now."""
            self._when = when
            self._task: asyncio.Task[object] | None = None
            self._handle: asyncio.Handle | None = None
            self._is_expired = self._is_over = False
            self._requests = 0

        def when(self) -> float | None:
            """Return when the time is over."""
            return self._when

        def expired(self) -> bool:
            """Return whether the task was cancelled by this scope."""
            return self._is_expired

        def reschedule(self, when: float | None) -> None:
            """Change the time. Raises RuntimeError once it is over, or the scope was left."""
            if self._task is None or self._is_over or self._is_expired:
                raise RuntimeError("the scope of a timeout is not entered, or its time is over")
            self._when = when
            if self._handle is not None:
                self._handle.cancel()
            loop = asyncio.get_running_loop()
            if when is None:
                self._handle = None
            elif when <= loop.time():
                self._handle = loop.call_soon(self._expire)
            else:
                self._handle = loop.call_at(when, self._expire)

        async def __aenter__(self) -> "Self":
            self._task = asyncio.current_task()
            if self._task is None:
                raise RuntimeError("a timeout must be entered in a task")
            self._requests = cancelling(self._task)
            self.reschedule(self._when)
            return self

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            self._is_over = True
            if self._handle is not None:
                self._handle.cancel()
            if self._is_expired and self._task is not None:
                is_ours = uncancel(self._task) <= self._requests
                if is_ours and kind is asyncio.CancelledError:
                    raise TimeoutError from error

        def _expire(self) -> None:
            self._is_expired = True
            if self._task is not None:
                self._task.cancel()

    def timeout(delay: float | None) -> Timeout:
        """Limit what is awaited inside to these seconds, None: without limit. TimeoutError at the end."""
        return Timeout(None if delay is None else asyncio.get_running_loop().time() + delay)

    def timeout_at(when: float | None) -> Timeout:
        """Limit what is awaited inside to a time of the event loop's clock."""
        return Timeout(when)
