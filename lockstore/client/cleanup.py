"""Clean-up that a second cancellation must not cut short."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["run_to_end"]


async def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run work that ends by itself, whatever cancels this task meanwhile; a cancellation goes on when it has ended."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # it has been seen; the cancellation matters more
    raise cancellation
