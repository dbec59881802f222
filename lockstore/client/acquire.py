"""The first half of a call: sends the request, and repeats it if necessary, until the lease is granted or the call fails."""

import asyncio
import logging

from lockstore.client.call_state import Call
from lockstore.client.connection import Connection, NoQueueError, NotTakenError
from lockstore.client.decisions import (
    Changed,
    Decision,
    Failed,
    Obtained,
    Resend,
    Restart,
)
from lockstore.client.registry import CallRegistry
from lockstore.client.steps_log import log_step
from lockstore.errors import BrokerLostError, LockError, WaitExpiredError
from lockstore.util.backoff import Backoff
from lockstore.util.timeouts import timeout_at

__all__ = ["LockAcquirer"]

logger = logging.getLogger(__name__)

AGAIN_FIRST_S = 0.02
AGAIN_MOST_S = 1.0


class LockAcquirer:
    """Obtains one call's lease."""

    def __init__(self, call: Call, registry: CallRegistry) -> None:
        self._call = call
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Decision] = self._loop.create_future()
        self._limit = timeout_at(call.deadline)
        self._backoff = Backoff(AGAIN_FIRST_S, AGAIN_MOST_S)
        self._misrouted = 0
        self._is_closed = False
        self._trouble = ""  # why the last attempt failed, for the error if there is no better reason

    async def obtain(self) -> None:
        """Return when the call holds its lease. Raises LockError if it fails."""
        self._registry.listen(self._call, self)
        try:
            async with self._limit:
                while not await self._ask():
                    pass
        except TimeoutError:
            self._registry.abandon(self._call)
            raise self._ended() from None
        except BaseException:
            self._registry.abandon(self._call)
            raise

    # --- what the registry calls --------------------------------------------------------------------------------------

    def handle_decision(self, decision: Decision) -> None:
        """Wake the caller with a decision it waits for."""
        if isinstance(decision, Changed):
            self._end_at(self._call.deadline)
        elif not self._answer.done():
            self._answer.set_result(decision)

    def connected(self) -> None:
        """Do nothing: waiting for a connection ends by itself."""

    def disconnected(self) -> None:
        """Repeat the request, with the same request id, once there is a connection."""
        self.handle_decision(Resend())

    def closed(self) -> None:
        """Wake the caller with an error."""
        self._is_closed = True
        self._end_at(self._loop.time())

    def _end_at(self, moment: float) -> None:
        if self._limit.when() != moment and not self._limit.expired():
            self._limit.reschedule(moment)

    # --- asking ---------------------------------------------------------------------------------------------------

    async def _ask(self) -> bool:
        """Send the request once, and return whether the lease was obtained."""
        connection = await self._registry.reconnector.wait_connected(self._call.started_at)
        if self._answer.done():
            self._answer = self._loop.create_future()
        asked_before = self._call.asked
        outbound = self._call.ask(self._loop.time(), connection.number)
        log_step("requested", self._call, "")
        try:
            await connection.publish(outbound, self._registry.routes)
        except (BrokerLostError, NotTakenError) as error:
            if not self._answer.done():  # otherwise it was answered, and only the confirm was lost
                if isinstance(error, NoQueueError):
                    self._call.asked = asked_before  # it never reached a daemon, so there is nothing to release
                await self._not_sent(connection, error)
                return False
        return await self._act_on(await self._answer)

    async def _act_on(self, decision: Decision) -> bool:
        match decision:
            case Obtained():
                if self._is_closed:  # closed in the same step as the grant: the body would not be stopped
                    raise self._ended()
                return True
            case Failed(error):
                raise error
            case Restart(give_back):
                self._registry.forget(self._call)
                if give_back:
                    self._registry.releases.put(self._call.give_back())
                self._call.restart()
                self._registry.listen(self._call, self)
                await self._pause("it was granted while the connection was lost")
            case Resend(partitions=int()):
                self._misrouted += 1
                if self._misrouted > 1:  # do not loop without a pause if a daemon contradicts itself
                    await self._pause("the daemon says that another partition serves the conversation")
            case Resend(trouble=trouble) if trouble:
                await self._pause(trouble)
            case Resend() | Changed():
                pass  # the next round waits for a connection; the other one ends no waiting
        return False

    async def _not_sent(self, connection: Connection, error: BrokerLostError | NotTakenError) -> None:
        match error:
            case NoQueueError():
                await self._no_queue(error)
            case NotTakenError():
                await self._pause(str(error))
            case _:
                self._trouble = str(error)
                await self._registry.reconnector.wait_replaced(connection)

    async def _no_queue(self, error: NoQueueError) -> None:
        """Try another partition, wait for a daemon, or give up."""
        call = self._call
        if call.partition is None and self._registry.routes.of(call.params.conversation_id) != 0:
            # There are fewer partitions than configured. The first one always exists, and its daemon reports their number.
            call.partition = 0
            partitions = self._registry.routes.partitions
            extra = {"code": "lock_client.partition_missing", "partitions": partitions}
            logger.warning("there are fewer than %d partitions; asking the first one", partitions, extra=extra)
            return
        call.partition = None
        trouble = (
            f"{error} in the namespace {self._registry.names.namespace!r}: "
            "no daemon has declared it, or an exchange or binding was removed"
        )
        if call.wait_is_over(self._loop.time()):
            raise WaitExpiredError(trouble)
        namespace = self._registry.names.namespace
        extra = {"code": "lock_client.no_daemon", "namespace": namespace}
        logger.warning("no daemon has declared the queues of namespace %r, waiting for one", namespace, extra=extra)
        await self._pause(trouble)

    async def _pause(self, trouble: str) -> None:
        self._trouble = trouble
        await asyncio.sleep(self._backoff.next_s())

    def _ended(self) -> LockError:
        if self._is_closed:
            return LockError("the client was closed while the call waited")
        why = [] if self._registry.reconnector.current else [self._registry.reconnector.failure]
        if self._trouble:
            why.append(self._trouble)
        if not why and not self._call.is_heard:
            why.append("no daemon has answered; is one running?")
        return WaitExpiredError("; ".join(["neither granted nor rejected within the wait", *why]))
