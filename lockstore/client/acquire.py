"""The first half of a call: asking, and asking again, until its turn comes or will not come."""

import asyncio
import logging

from lockstore.client.call_state import Call
from lockstore.client.connection import Connection, NoQueueError, NotTakenError
from lockstore.client.decisions import (
    Decision,
    Extended,
    Failed,
    Lost,
    Obtained,
    Queued,
    Resend,
    Restart,
    WrongPartition,
)
from lockstore.client.registry import CallRegistry
from lockstore.errors import BrokerLostError, LockError, WaitExpiredError
from lockstore.util.backoff import Backoff

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
        self._limit = asyncio.timeout_at(call.deadline)
        self._backoff = Backoff(AGAIN_FIRST_S, AGAIN_MOST_S)
        self._misrouted = 0
        self._is_closed = False
        self._trouble = ""  # why the last attempt came to nothing, for the error if there is no better one

    async def obtain(self) -> None:
        """Come back when the call holds its lease. Raises LockError when it will not."""
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

    def told(self, outcome: Decision) -> None:
        """Wake the caller, if this is what it waits for."""
        if isinstance(outcome, Queued):
            self._end_at(self._call.deadline)
        elif not self._answer.done():
            self._answer.set_result(outcome)

    def connected(self) -> None:
        """Do nothing: who waits for a connection wakes by itself."""

    def disconnected(self) -> None:
        """Ask again, with the same request id, when there is a connection."""
        self.told(Resend())

    def closed(self) -> None:
        """Wake the caller with an error, whatever it waits for."""
        self._is_closed = True
        self._end_at(self._loop.time())

    def _end_at(self, moment: float) -> None:
        if self._limit.when() != moment and not self._limit.expired():
            self._limit.reschedule(moment)

    # --- asking ---------------------------------------------------------------------------------------------------

    async def _ask(self) -> bool:
        """Ask once, and tell whether the lease is obtained."""
        epoch = await self._registry.link.epoch()
        if self._answer.done():
            self._answer = self._loop.create_future()
        asked_before = self._call.asked
        letter = self._call.ask(self._loop.time(), epoch.number)
        try:
            await epoch.publish(letter, self._registry.routes)
        except (BrokerLostError, NotTakenError) as error:
            if not self._answer.done():  # otherwise it was taken and answered, and only the confirm was lost
                if isinstance(error, NoQueueError):
                    self._call.asked = asked_before  # nobody saw this one: there is nothing to take back
                await self._not_sent(epoch, error)
                return False
        return await self._act_on(await self._answer)

    async def _act_on(self, outcome: Decision) -> bool:
        match outcome:
            case Obtained():
                if self._is_closed:  # in the very step of the grant: nobody would tell the body
                    raise self._ended()
                return True
            case Failed(error):
                raise error
            case Restart(give_back):
                self._registry.forget(self._call)
                if give_back:
                    self._registry.outbox.put(self._call.give_back())
                self._call.restart()
                self._registry.listen(self._call, self)
                await self._pause("its turn came while the connection was lost")
            case WrongPartition():
                self._misrouted += 1
                if self._misrouted > 1:  # a daemon that contradicts itself must not be asked without pause
                    await self._pause("the daemon says that another partition serves the conversation")
            case Resend() | Queued() | Extended() | Lost():
                pass  # the next round waits for a connection; the other three are no answers to a request
        return False

    async def _not_sent(self, epoch: Connection, error: BrokerLostError | NotTakenError) -> None:
        match error:
            case NoQueueError():
                await self._no_queue(error)
            case NotTakenError():
                await self._pause(str(error))
            case _:
                self._trouble = str(error)
                await self._registry.link.after(epoch)

    async def _no_queue(self, error: NoQueueError) -> None:
        """Look for a daemon elsewhere, wait for one to come, or give up."""
        call = self._call
        if call.partition is None and self._registry.routes.of(call.wanted.conversation_id) != 0:
            # There are fewer partitions than we think. The first one always is, and its daemon says how many there are.
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
        why = [] if self._registry.link.current else [self._registry.link.failure]
        if self._trouble:
            why.append(self._trouble)
        return WaitExpiredError("; ".join(["no turn and no final answer within the wait", *why]))
