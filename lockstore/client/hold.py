"""The second half of a call: the body runs while the lease lasts, is renewed meanwhile, and is stopped before the end."""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import Self

from lockstore.client.call_state import Call
from lockstore.client.connection import Connection, NotTakenError
from lockstore.client.decisions import Decision, Extended, Lost, WrongPartition
from lockstore.client.outbound import OutboundMessage
from lockstore.client.registry import CallRegistry
from lockstore.errors import BrokerLostError, LockError, LockLostError

__all__ = ["LeaseGuard"]

logger = logging.getLogger(__name__)

_OUT_OF_TIME = "it was not renewed in time"


class LeaseGuard:
    """`async with` around the body of a lock. At the end LockLostError takes the place of our cancellation, and of no other.

    The body is cancelled through asyncio's own timeout scope, which tells our cancellation from anybody else's.
    """

    def __init__(self, call: Call, registry: CallRegistry) -> None:
        self._call = call
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout_at(call.safe_until)
        self._is_open = False
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self._misrouted = 0  # times in a row
        self._confirmed_on = call.epoch  # the connection on which the daemon last said that the lease is ours

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self._is_open = True
        if self._task is not None:
            self._task.add_done_callback(self._left_alone)
        self._registry.listen(self._call, self)
        # Most locks are given back long before: only a timer until then, and no task.
        self._timer = self._loop.call_at(self._call.renew_at, self._renew_soon)
        if self._call.lost is not None:
            self._stop_body()
        elif (epoch := self._registry.link.current) is not None and epoch.number != self._call.epoch:
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
        try:
            if asyncio.current_task() is self._task:
                await self._scope.__aexit__(kind, error, trace)
            else:
                await self._scope.__aexit__(None, None, None)  # a cancellation of this task is not the scope's
        except TimeoutError:
            raise self._lost() from error
        if error is None and self._call.lost is not None:
            raise self._lost()  # it came to its end, but not within the lease

    # --- what the registry calls --------------------------------------------------------------------------------------

    def told(self, outcome: Decision) -> None:
        """Let the body run longer, or stop it."""
        match outcome:
            case Extended():
                if self._is_open and not self._scope.expired():
                    self._scope.reschedule(self._call.safe_until)
                epoch = self._registry.link.current
                self._confirmed_on = 0 if epoch is None else epoch.number
                self._misrouted = 0
                self._nudge.set()
            case Lost():
                self._stop_body()
            case WrongPartition():
                self._misrouted += 1
                if self._misrouted == 1:  # a daemon that contradicts itself is asked again only when it is time
                    self._renew_now()
            case _:
                pass

    def connected(self) -> None:
        """Renew at once: nobody knows how long the connection was away."""
        self._renew_now()

    def disconnected(self) -> None:
        """Do nothing: the lease lasts, and renewing waits for a connection."""

    def closed(self) -> None:
        """Stop the body: nobody would renew its lease."""
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
        """Take note that the task that entered has ended while the lock is held: there is nothing left to cancel."""
        self._call.is_unguarded = True
        self._watch_lease()
        extra = {"code": "lock_client.body_unguarded", "conversation_id": self._call.wanted.conversation_id}
        logger.error(
            "the task that entered the lock of %r has ended, and the lock is still held: if its lease is lost, nothing can"
            " stop the body. Enter it in the task that runs the body, or have the body call ticket.check()",
            self._call.wanted.conversation_id,
            extra=extra,
        )

    def _watch_lease(self) -> None:
        """Say it when an unguarded lease is lost."""
        if self._call.lost is None and self._loop.time() < self._call.safe_until:
            self._watch = self._loop.call_at(self._call.safe_until, self._watch_lease)
            return
        self._call.lose(_OUT_OF_TIME)
        extra = {"code": "lock_client.body_runs_without_lease", "conversation_id": self._call.wanted.conversation_id}
        logger.critical("%s. Its body may still run, and could not be stopped", self._lost(), extra=extra)

    def _lost(self) -> LockLostError:
        why = self._call.lost.why if self._call.lost else _OUT_OF_TIME
        call = self._call
        return LockLostError(f"ticket {call.number} of {call.wanted.conversation_id!r}: the lease ended: {why}")

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
        """Renew whenever it is time, until the body is done or the client is closed."""
        with suppress(LockError):
            while True:
                await self._rest(self._call.renew_at - self._loop.time())
                if self._call.renew_at <= self._loop.time():
                    await self._renew()
                elif (epoch := self._registry.link.current) and self._call.epoch != epoch.number == self._confirmed_on:
                    # The daemon still knows the ticket. Renewals do not move the address of what else is said about it;
                    # asking again does, and is answered with the grant.
                    await self._send(epoch, self._call.ask(self._loop.time(), epoch.number))

    async def _rest(self, pause_s: float) -> None:
        if pause_s > 0 and not self._nudge.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._nudge.wait()
        self._nudge.clear()

    async def _renew(self) -> None:
        epoch = await self._registry.link.epoch()
        await self._send(epoch, self._call.renew(self._loop.time()))

    async def _send(self, epoch: Connection, letter: OutboundMessage) -> None:
        try:
            await epoch.publish(letter, self._registry.routes)
        except BrokerLostError:
            await self._registry.link.after(epoch)
        except NotTakenError as error:
            extra = {"code": "lock_client.renewal_not_taken", "reason": str(error)}
            conversation_id = self._call.wanted.conversation_id
            logger.warning("a renewal of %r was not taken, trying again: %s", conversation_id, error, extra=extra)
