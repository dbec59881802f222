"""Closes what is open when Sanic stops. Rasa itself never closes a lock store.

Sanic cancels its registered tasks twice: when the signal arrives, while messages are still being handled, and again when its
connections have ended. Before its loop ends, it waits for these tasks. So one such task begins to drain at the first
cancellation, and ends when everything is closed.
"""

import asyncio
import sys
from itertools import count
from typing import Protocol

from lockstore.rasa.log import logger

__all__ = ["Closing", "close_with_sanic"]

_NUMBERS = count(1)


class Closing(Protocol):
    """What is to be closed."""

    async def drain_and_close(self) -> None:
        """Wait until nobody uses it, or until `hurry`, and close it."""

    def hurry(self) -> None:
        """Close it after a time limit, even if it is still in use."""


def close_with_sanic(shared: Closing) -> None:
    """Close it when the Sanic server of this event loop stops. Without Sanic this does nothing."""
    sanic = sys.modules.get("sanic")
    if sanic is None:
        return
    try:
        app = sanic.Sanic.get_app()
        if app.loop is asyncio.get_running_loop():
            app.add_task(_close_when_cancelled(shared), name=f"lockstore-closing-{next(_NUMBERS)}")
    except Exception as error:  # noqa: BLE001 - Sanic's own class: there is no application, or it does not run
        logger.debug("no Sanic server runs here, so nothing is closed when the process ends: %s", error)


async def _close_when_cancelled(shared: Closing) -> None:
    try:
        await asyncio.get_running_loop().create_future()  # until Sanic's first cancellation
    except asyncio.CancelledError:
        closing = asyncio.ensure_future(shared.drain_and_close())  # not Sanic's, so the second one spares it
    while not closing.done():
        try:
            await asyncio.wait({closing})
        except asyncio.CancelledError:  # noqa: PERF203 - each time, however often it is cancelled
            shared.hurry()
    closing.result()
