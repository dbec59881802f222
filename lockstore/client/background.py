"""An event loop in a thread of its own, in which the blocking client runs the asynchronous one."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any

from lockstore.client.client import LockClient
from lockstore.client.held_ticket import HeldTicket
from lockstore.client.thread_ticket import ThreadTicket
from lockstore.errors import LockError

__all__ = ["Background", "Holding"]

logger = logging.getLogger(__name__)

_CLOSED = "the client was closed while the call waited"
_LOOK_AGAIN_S = 1.0

Enter = Callable[[LockClient], AbstractAsyncContextManager[HeldTicket]]


class Background:
    """The thread, its event loop, and the client that belongs to it. `stop` ends them."""

    def __init__(self, client: LockClient) -> None:
        """Start the thread, and open the client there."""
        self.process = os.getpid()
        self.client = client
        self.loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="lockstore client", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(client.open(), self.loop).result()
        except BaseException:
            self.stop()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether the loop runs, in this process."""
        return self._thread.is_alive() and self.process == os.getpid()

    def stop(self) -> None:
        """Close the client, and end the thread."""
        if self.process != os.getpid():
            return
        try:
            asyncio.run_coroutine_threadsafe(self.client.close(), self.loop).result()
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.loop.close()


class Holding:
    """One lock of a thread: a task of the loop enters it, waits until the thread leaves its body, and gives it back."""

    def __init__(self, background: Background, on_lost: Callable[[ThreadTicket], object] | None) -> None:
        self._background = background
        self._on_lost = on_lost
        self._entered: Future[ThreadTicket] = Future()
        self._over = threading.Event()
        self._error: LockError | None = None  # how the lease ended, if it did before the body
        # Of the loop's thread alone:
        self._left = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # --- in the thread of the caller ------------------------------------------------------------------------------

    def begin(self, enter: Enter) -> None:
        """Ask for the lock."""
        self._call(self._start, enter)

    def wait_entered(self) -> ThreadTicket:
        """Return the ticket once it is granted. Raises LockError."""
        return self._entered.result()

    def give_up(self) -> None:
        """Leave the line, or give the lock back if it was granted meanwhile."""
        self._call(self._stop)
        self._wait_over()

    def leave(self) -> None:
        """Give the lock back. Raises LockLostError if the lease was lost, LockError in the child of a fork."""
        if self._background.process != os.getpid():
            raise LockError("this lock is held by the process that was forked, which gives it back")
        self._call(self._left.set)
        self._wait_over()
        if self._error is not None:
            raise self._error

    def _call(self, what: Callable[..., object], *arguments: Any) -> None:
        if self._background.process != os.getpid():
            return
        try:
            self._background.loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:  # the loop is closed, and everything was given back
            self._over.set()
            if not self._entered.done():
                self._entered.set_exception(LockError(_CLOSED))

    def _wait_over(self) -> None:
        while self._background.is_alive and not self._over.wait(_LOOK_AGAIN_S):
            pass

    # --- in the thread of the loop --------------------------------------------------------------------------------

    def _start(self, enter: Enter) -> None:
        self._task = asyncio.ensure_future(self._hold(enter))

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _hold(self, enter: Enter) -> None:
        ticket: ThreadTicket | None = None
        try:
            async with enter(self._background.client) as held:
                ticket = ThreadTicket(held)
                self._entered.set_result(ticket)
                await self._left.wait()
        except asyncio.CancelledError:
            self._fail(ticket, LockError(_CLOSED))
            raise
        except LockError as error:
            self._fail(ticket, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            self._entered.set_exception(error)
        finally:
            self._over.set()

    def _fail(self, ticket: ThreadTicket | None, error: LockError) -> None:
        if ticket is None:
            self._entered.set_exception(error)
            return
        self._error = error
        ticket.lost.set()
        if self._on_lost is not None and not self._left.is_set():
            telling = threading.Thread(
                target=_tell, args=(self._on_lost, ticket), name="lockstore on_lost", daemon=True
            )
            telling.start()


def _tell(on_lost: Callable[[ThreadTicket], object], ticket: ThreadTicket) -> None:
    try:
        on_lost(ticket)
    except Exception:
        extra = {"code": "lock_client.on_lost_failed", "conversation_id": ticket.conversation_id}
        logger.exception("on_lost raised an error, for %r", ticket, extra=extra)
