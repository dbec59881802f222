"""Direct tickets of one process: issued in the order of the calls, and returned even if the caller is cancelled.

A caller can be cancelled, or lose the store, between any two steps of a call. Tickets are therefore issued in a task
that survives a cancelled caller; a ticket without a caller is then removed in the background.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from inspect import isawaitable
from secrets import randbelow
from typing import Any, Protocol, TypeVar

from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.stores.results import NewTicket, Turn
from lockstore.stores.wait_for_turn import TurnStore, wait_for_turn
from lockstore.util.backoff import Backoff
from lockstore.util.event_loop import OneEventLoop

__all__ = ["LOCK_LIFETIME_S", "DirectStore", "DirectTickets", "ending_direct_use", "whole_ms"]

LOCK_LIFETIME_S = 60  # Rasa's default lifetime of a ticket

_MARKS = 10**13  # Redis' scripts write 14 digits of a number
_TOGETHER_MAX = 100  # tickets of one conversation issued in one call of the store
_WAIT_S = (
    0.5  # how long a cancelled caller waits for its ticket to be removed; removal then continues in the background
)
_FIRST_S, _MOST_S = 0.05, 2.0  # delays between background attempts
_ATTEMPTS_MAX = 6  # attempts to find a ticket whose number was lost with the reply: the server may process the request after an attempt
_BACKGROUND_MAX = 1000  # tickets being removed; more than that expire with their lifetime
_AT_ONCE = 16  # concurrent store calls that remove tickets
_CLOSE_S = 2.0  # how long `close` waits for running work

Entered = tuple[int, Turn]


class DirectStore(TurnStore, Protocol):
    """The store interface that direct tickets need."""

    def enter(self, conversation_id: str, lifetime_ms: int) -> Awaitable[Entered]:
        """Issue a direct ticket to a caller."""

    def issue_all(
        self, conversation_id: str, tickets: Sequence[NewTicket]
    ) -> Awaitable[Sequence[Entered | ConversationError]]:
        """Issue direct tickets of one conversation in this order."""

    def retract(self, conversation_id: str, ticket: NewTicket) -> Awaitable[bool]:
        """Remove a ticket whose number was lost with the reply. Returns whether no further attempt is needed."""

    def cleanup(self, conversation_id: str, ticket_number: int) -> Awaitable[None]:
        """Remove a direct ticket from the line."""


@dataclass(eq=False, slots=True)
class _Call:
    """A caller waiting for its ticket's number."""

    ticket: NewTicket
    answer: asyncio.Future[Entered]
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # set when nothing of a cancelled caller is left
    sent: bool = False


class DirectTickets:
    """The direct tickets that this process requests from one store."""

    def __init__(self, store: DirectStore) -> None:
        self._store = store
        self._queues: dict[str, deque[_Call]] = {}
        self._issuing: set[asyncio.Task[None]] = set()
        self._returning: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.event_loop = OneEventLoop()

    @asynccontextmanager
    async def hold(self, conversation_id: str, lifetime_ms: int, poll_s: float) -> AsyncIterator[TicketLock]:
        """Hold a conversation's lock for the duration of the context."""
        self.event_loop.check()
        number, turn = await self._store.enter(conversation_id, lifetime_ms)
        try:
            yield turn.line or await wait_for_turn(self._store, conversation_id, number, poll_s)
        except GeneratorExit:  # nothing can be awaited here
            self._finish_later(conversation_id, number, lifetime_ms, asyncio.Event())
            raise
        except BaseException as error:
            # The caller's own error takes precedence over a failure to return the ticket.
            try:
                await self._give_back(conversation_id, number, lifetime_ms)
            except Exception as second:  # noqa: BLE001 - a custom store may raise anything
                error.add_note(f"additionally, ticket {number} could not be returned: {second}")
            raise
        await self._give_back(conversation_id, number, lifetime_ms)

    async def enter(self, conversation_id: str, lifetime_ms: int) -> Entered:
        """Issue a ticket, behind those requested earlier by this process for the same conversation. Returns its number and state."""
        self.event_loop.check()
        call = _Call(NewTicket(lifetime_ms, 1 + randbelow(_MARKS)), asyncio.get_running_loop().create_future())
        queue = self._queues.get(conversation_id)
        if queue is None:
            queue = self._queues[conversation_id] = deque()
            _keep(self._issuing, self._issue(conversation_id, queue))
        queue.append(call)
        try:
            return await call.answer
        except BaseException as error:
            self._abandon(conversation_id, call)
            if call.sent and isinstance(error, asyncio.CancelledError):
                await _within(call.settled, _WAIT_S)
            raise

    async def close(self) -> None:
        """Wait briefly for running work, then cancel it. The store may afterwards be used in another event loop."""
        self.event_loop.check()
        loop = asyncio.get_running_loop()
        end_s = loop.time() + _CLOSE_S
        for tasks in (self._issuing, self._returning):  # a ticket issued last may still have to be removed
            while tasks and (left_s := end_s - loop.time()) > 0:
                await asyncio.wait(tasks, timeout=left_s)
        while rest := [*self._issuing, *self._returning]:  # a task cancelled while it issues begins another
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)
        self._gate = asyncio.Semaphore(_AT_ONCE)  # a semaphore belongs to the event loop in which it was awaited
        self.event_loop.release()

    # --- issuing -----------------------------------------------------------------------------------------------------

    async def _issue(self, conversation_id: str, queue: deque[_Call]) -> None:
        """Issue tickets until no caller of this conversation is waiting; calls that arrived meanwhile are combined."""
        try:
            while queue:
                calls = [queue.popleft() for _ in range(min(len(queue), _TOGETHER_MAX))]
                wanted = [call for call in calls if not call.answer.done()]
                if wanted:
                    await self._issue_together(conversation_id, wanted)
        finally:
            del self._queues[conversation_id]
            for call in queue:
                _fail(call, StoreUnavailableError("the store was closed"))

    async def _issue_together(self, conversation_id: str, calls: Sequence[_Call]) -> None:
        for call in calls:
            call.sent = True
        results: Sequence[Entered | BaseException]
        try:
            results = await self._store.issue_all(conversation_id, [call.ticket for call in calls])
        except asyncio.CancelledError:
            # By `close`, or together with every other task of the event loop, as asyncio.run does at its end. That spares
            # the tasks that remove these tickets: they begin afterwards.
            for call in calls:
                self._answer(conversation_id, call, StoreUnavailableError("the store was closed"))
            raise
        except Exception as error:  # noqa: BLE001 - passed on to the callers
            results = [error] * len(calls)
        for call, result in zip(calls, results, strict=True):
            self._answer(conversation_id, call, result)

    def _answer(self, conversation_id: str, call: _Call, result: Entered | BaseException) -> None:
        """Deliver a result to its caller; if the caller was cancelled, return its ticket."""
        ticket = call.ticket
        if isinstance(result, BaseException):
            self._later(lambda: self._store.retract(conversation_id, ticket), ticket.lifetime_ms, call.settled)
            _fail(call, result)
        elif call.answer.cancelled():
            self._finish_later(conversation_id, result[0], ticket.lifetime_ms, call.settled)
        else:
            call.answer.set_result(result)

    def _abandon(self, conversation_id: str, call: _Call) -> None:
        """Clean up after a caller that was cancelled while it waited for its ticket."""
        answer = call.answer
        if not answer.done():
            answer.cancel()
        elif not answer.cancelled() and answer.exception() is None:  # the result arrived after the cancellation
            self._finish_later(conversation_id, answer.result()[0], call.ticket.lifetime_ms, call.settled)

    # --- giving back -------------------------------------------------------------------------------------------------

    async def _give_back(self, conversation_id: str, number: int, lifetime_ms: int) -> None:
        """Remove a ticket; on cancellation or store failure, retry in the background."""
        settled = asyncio.Event()
        try:
            await self._store.cleanup(conversation_id, number)
        except ConversationError:
            raise  # its data is bad, so a retry cannot succeed
        except asyncio.CancelledError:
            self._finish_later(conversation_id, number, lifetime_ms, settled)
            await _within(settled, _WAIT_S)
            raise
        except Exception:
            self._finish_later(conversation_id, number, lifetime_ms, settled)
            raise

    def _finish_later(self, conversation_id: str, number: int, lifetime_ms: int, settled: asyncio.Event) -> None:
        async def finish() -> bool:
            await self._store.cleanup(conversation_id, number)
            return True

        self._later(finish, lifetime_ms, settled)

    def _later(self, attempt: Callable[[], Awaitable[bool]], lifetime_ms: int, settled: asyncio.Event) -> None:
        if len(self._returning) >= _BACKGROUND_MAX or asyncio._get_running_loop() is None:  # noqa: SLF001
            settled.set()
            return
        task = _keep(self._returning, self._until_done(attempt, lifetime_ms / 1000))
        task.add_done_callback(lambda _: settled.set())

    async def _until_done(self, attempt: Callable[[], Awaitable[bool]], lifetime_s: float) -> None:
        """Retry until it succeeds, for at most the ticket's lifetime."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + lifetime_s
        pause = Backoff(_FIRST_S, _MOST_S)
        attempts = 0
        while attempts < _ATTEMPTS_MAX and loop.time() < end_s:
            try:
                async with self._gate:
                    if await attempt():
                        return
                attempts += 1
            except StoreUnavailableError:
                pass  # retry, for as long as the lifetime allows
            except Exception:  # noqa: BLE001 - there is no caller left to report to; the ticket expires with its lifetime
                return
            await asyncio.sleep(pause.next_s())


def _keep(tasks: set[asyncio.Task[None]], work: Awaitable[None]) -> asyncio.Task[None]:
    """Run work in the background, where `close` can find it."""
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _fail(call: _Call, error: BaseException) -> None:
    """Fail a caller that still waits, with an exception of its own: tracebacks and notes are added to it."""
    if call.answer.done():
        return
    own = StoreUnavailableError(str(error)) if type(error) is StoreUnavailableError else error
    own.__cause__ = error.__cause__
    call.answer.set_exception(own)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, with a timeout in seconds."""
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()


def whole_ms(seconds: float) -> int:
    """Convert a lifetime from seconds to the whole milliseconds that stores use."""
    return max(1, round(seconds * 1000))


class _Direct(Protocol):
    @property
    def direct(self) -> DirectTickets: ...


_Store = TypeVar("_Store", bound=_Direct)


def ending_direct_use(close: Callable[[_Store], Awaitable[None]]) -> Callable[[_Store], Coroutine[Any, Any, None]]:
    """Wrap a store's `close`, sync or async, so that direct use ends first."""

    @wraps(close)
    async def close_after_direct_use(store: _Store) -> None:
        await store.direct.close()
        answer: Any = close(store)
        if isawaitable(answer):
            await answer

    return close_after_direct_use
