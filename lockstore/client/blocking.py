"""The client for programs without an event loop: threads, WSGI applications, Celery.

    locks = LockClient("amqp://guest:guest@localhost/")
    with locks.lock("conversation-42", wait=30) as ticket:
        ...

It has nothing of its own but a thread, in which an event loop runs the client of `lockstore.client`. A body of code in a thread
cannot be cancelled: it asks `ticket.check()` before it writes, or `ticket.lost`, or is told by `on_lost`.
"""

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING
from weakref import WeakSet

from lockstore.amqp.hosts import CONNECT_LIMIT_S
from lockstore.client.background import Background, Holding
from lockstore.client.client import LockClient as AsyncLockClient
from lockstore.client.thread_ticket import ThreadTicket
from lockstore.errors import LockError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LockClient", "ThreadTicket"]


class LockClient:
    """Locks for threads. Any number of them may share it; the arguments are those of `lockstore.client.LockClient`.

    It connects when it is first used, and is closed by `close`, at the end of a `with` statement, or when the program ends. After
    a fork the child has a connection of its own from its first lock on; what its parent holds stays with its parent.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "lockstore",
        partitions: int = 1,
        connect_timeout: float = CONNECT_LIMIT_S,
        holder: str | None = None,
    ) -> None:
        def make() -> AsyncLockClient:
            return AsyncLockClient(
                url, namespace=namespace, partitions=partitions, connect_timeout=connect_timeout, holder=holder
            )

        self._shown = repr(make())  # raises ConfigError for an invalid argument
        self._make = make
        self._opening = threading.Lock()
        self._background: Background | None = None
        self._is_closed = False
        _clients.add(self)

    def __repr__(self) -> str:
        return f"blocking.{self._shown}"

    def __enter__(self) -> "Self":
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Start connecting, without waiting for the connection. `lock` does it too, unless the client was closed."""
        with self._opening:
            self._is_closed = False
            self._started()

    def close(self) -> None:
        """Fail waiting calls, end the leases that are held (their tickets are lost), release everything, and disconnect.

        Do not call it inside the body of a lock. It may be called repeatedly, and takes at most a few seconds.
        """
        with self._opening:
            background, self._background, self._is_closed = self._background, None, True
        if background is not None:
            background.stop()

    @contextmanager
    def lock(
        self,
        conversation_id: str,
        *,
        wait: float | None = None,
        lifetime: float | None = None,
        holder: str | None = None,
        on_lost: Callable[[ThreadTicket], object] | None = None,
    ) -> Iterator[ThreadTicket]:
        """Hold a conversation's lock while the body runs, and release it at the end.

        The arguments and errors are those of the asynchronous client. If the lease is lost, the body runs on: `ticket.lost` is
        set and `on_lost` is called, in a thread of its own, *before* the lease can have ended, and LockLostError is raised at
        the end of the body unless it raises an error itself.
        """
        with self._opening:
            if self._is_closed:
                raise LockError("the client is closed")
            background = self._started()
        holding = Holding(background, on_lost)
        try:
            holding.begin(lambda client: client.lock(conversation_id, wait=wait, lifetime=lifetime, holder=holder))
            ticket = holding.wait_entered()
        except BaseException:  # KeyboardInterrupt, too: nobody is left in line
            holding.give_up()
            raise
        try:
            yield ticket
        except BaseException:
            with suppress(LockError):
                holding.leave()
            raise
        holding.leave()

    def _started(self) -> Background:
        if self._background is None:
            self._background = Background(self._make())
        return self._background

    def _forget(self) -> None:
        """Begin anew in the child of a fork: the thread is not there, and the connection is the parent's."""
        self._opening = threading.Lock()
        if self._background is not None:
            _of_the_parent.append(self._background)
            self._background = None


_clients: WeakSet[LockClient] = WeakSet()
_of_the_parent: list[Background] = []  # never collected: that would close what the parent uses


def _after_fork() -> None:
    for client in list(_clients):
        client._forget()  # noqa: SLF001 - of this module


def _at_exit() -> None:
    for client in list(_clients):
        client.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
