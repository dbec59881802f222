"""The second half of a call: renews the lease while the body runs, and stops the body before the lease expires."""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from lockstore.client.call_state import Call
from lockstore.client.connection import Connection, NotTakenError
from lockstore.client.decisions import Changed, Decision, Failed, Resend
from lockstore.client.outbound import OutboundMessage
from lockstore.client.registry import CallRegistry
from lockstore.errors import BrokerLostError, LockError, LockLostError
from lockstore.util.timeouts import timeout, timeout_at

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LeaseGuard"]

logger = logging.getLogger(__name__)

_OUT_OF_TIME = "it was not renewed in time"


class LeaseGuard:
    """`async with` around the body of a lock. On exit LockLostError replaces our cancellation, but no one else's.

    The body is cancelled through asyncio's timeout scope, which distinguishes our cancellation from others.
    """

    def __init__(self, call: Call, registry: CallRegistry) -> None:
        self._call = call
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._scope = timeout_at(call.safe_until)
        call.body.note_awaiting()
        self._is_open = False
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self._misrouted = 0  # consecutive answers
        self._confirmed_on = call.connection_number  # the connection on which the lease was last confirmed

    async def __aenter__(self) -> "Self":
        await self._scope.__aenter__()
        self._is_open = True
        if self._task is not None:
            self._task.add_done_callback(self._left_alone)
        self._registry.listen(self._call, self)
        # Most locks are released much earlier, so a timer suffices until then, without a task.
        self._timer = self._loop.call_at(self._call.renew_at, self._renew_soon)
        if self._call.lost is not None:
            self._stop_body()
        elif (
            connection := self._registry.reconnector.current
        ) is not None and connection.number != self._call.connection_number:
            self.connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        for timer in (self._timer, self._watch):
            if timer is not None:
                timer.cancel()
        if self._task is not None:
            self._task.remove_done_callback(self._left_alone)
        if self._renewing is not None:
            self._renewing.cancel()
        if self._loop.time() >= self._call.safe_until:
            self._call.lose(_OUT_OF_TIME)
        was_ours = self._call.body.take_back() and isinstance(error, asyncio.CancelledError)
        try:
            if asyncio.current_task() is self._task:
                await self._scope.__aexit__(kind, error, trace)
            else:
                # A cancellation of this task does not belong to the scope.
                await self._scope.__aexit__(None, None, None)
        except TimeoutError:
            raise self._lost() from error
        if was_ours or (error is None and self._call.lost is not None):
            raise self._lost() from error  # the body was stopped, or finished, but not within the lease

    # --- what the registry calls --------------------------------------------------------------------------------------

    def handle_decision(self, decision: Decision) -> None:
        """Extend the body's time, or stop it."""
        match decision:
            case Changed():
                if self._is_open and not self._scope.expired():
                    self._scope.reschedule(self._call.safe_until)
                connection = self._registry.reconnector.current
                self._confirmed_on = 0 if connection is None else connection.number
                self._misrouted = 0
                self._nudge.set()
            case Failed():
                self._stop_body()
            case Resend():
                self._misrouted += 1
                if self._misrouted == 1:  # if a daemon contradicts itself, the next renewal waits for its time
                    self._renew_now()
            case _:
                pass

    def connected(self) -> None:
        """Renew immediately: the duration of the interruption is unknown."""
        self._renew_now()

    def disconnected(self) -> None:
        """Do nothing: the lease continues, and renewing waits for a connection."""

    def closed(self) -> None:
        """Stop the body: its lease will not be renewed."""
        self._call.lose("the client was closed")
        self._stop_body()

    # --- the body's end -------------------------------------------------------------------------------------------

    def _stop_body(self) -> None:
        if self._is_open and self._call.is_unguarded:
            if self._watch is not None:
                self._watch.cancel()
            self._watch_lease()
        elif self._is_open and not self._scope.expired():
            self._scope.reschedule(self._loop.time())

    def _left_alone(self, _: object) -> None:
        """Record that the task that entered has ended while the lock is held: the body runs in another, if at all."""
        self._call.is_unguarded = True
        self._watch_lease()
        extra = {"code": "lock_client.body_unguarded", "conversation_id": self._call.params.conversation_id}
        logger.error(
            "the task that entered the lock of %r has ended, and the lock is still held: if its lease is lost, the task that"
            " used the ticket last, or awaited the entry, is cancelled. Enter it in the task that runs the body",
            self._call.params.conversation_id,
            extra=extra,
        )

    def _watch_lease(self) -> None:
        """Stop the body when the lease is lost, or log that it cannot be stopped."""
        if self._call.lost is None and self._loop.time() < self._call.safe_until:
            self._watch = self._loop.call_at(self._call.safe_until, self._watch_lease)
            return
        self._call.lose(_OUT_OF_TIME)
        extra = {"code": "lock_client.body_stopped", "conversation_id": self._call.params.conversation_id}
        if self._call.body.stop():
            logger.error(
                "%s. Its body was cancelled, in another task than the one that entered", self._lost(), extra=extra
            )
            return
        extra["code"] = "lock_client.body_runs_without_lease"
        logger.critical("%s. Its body may still run, and could not be stopped", self._lost(), extra=extra)

    def _lost(self) -> LockLostError:
        return self._call.lost_error(_OUT_OF_TIME)

    # --- renewing -------------------------------------------------------------------------------------------------

    def _renew_now(self) -> None:
        self._call.renew_at = self._loop.time()
        self._renew_soon()

    def _renew_soon(self) -> None:
        if not self._is_open:
            return
        if self._renewing is None:
            self._renewing = self._loop.create_task(self._keep(), name=f"renew {self._call.request_id}")
        else:
            self._nudge.set()

    async def _keep(self) -> None:
        """Renew in time, until the body is finished or the client is closed."""
        with suppress(LockError):
            while True:
                await self._rest(self._call.renew_at - self._loop.time())
                if self._call.renew_at <= self._loop.time():
                    await self._renew()
                elif (
                    connection := self._registry.reconnector.current
                ) and self._call.connection_number != connection.number == self._confirmed_on:
                    # The daemon still knows the ticket. A renewal does not change the reply queue of its other answers, but
                    # repeating the request does, and it is answered with the grant.
                    await self._send(connection, self._call.ask(self._loop.time(), connection.number))

    async def _rest(self, pause_s: float) -> None:
        if pause_s > 0 and not self._nudge.is_set():
            with suppress(TimeoutError):
                async with timeout(pause_s):
                    await self._nudge.wait()
        self._nudge.clear()

    async def _renew(self) -> None:
        connection = await self._registry.reconnector.wait_connected()
        await self._send(connection, self._call.renew(self._loop.time()))

    async def _send(self, connection: Connection, outbound: OutboundMessage) -> None:
        try:
            await connection.publish(outbound, self._registry.routes)
        except BrokerLostError:
            await self._registry.reconnector.wait_replaced(connection)
        except NotTakenError as error:
            extra = {"code": "lock_client.renewal_not_taken", "reason": str(error)}
            conversation_id = self._call.params.conversation_id
            logger.warning("a renewal of %r was not accepted, retrying: %s", conversation_id, error, extra=extra)
