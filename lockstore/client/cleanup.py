"""Clean-up that a further cancellation must not interrupt."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["run_to_end"]


async def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run work to its end, postponing any cancellation of this task until then."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:  # noqa: PERF203 - each time, however often it is cancelled
            cancellation = error
    if cancellation is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # retrieved; the cancellation takes precedence
    raise cancellation
