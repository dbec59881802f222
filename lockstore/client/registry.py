"""All calls of a client: assigns answers to their calls, and handles answers that belong to none."""

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from typing import Protocol

from aiormq.abc import DeliveredMessage

from lockstore.amqp.hosts import BrokerHosts
from lockstore.client.call_state import Call
from lockstore.client.connection import NotTakenError
from lockstore.client.decisions import Decision, Resend
from lockstore.client.log_limit import RateLimitedLog
from lockstore.client.outbound import Routes, is_release, release
from lockstore.client.reconnect import Reconnector
from lockstore.client.release_queue import ReleaseQueue
from lockstore.client.replies import InvalidReplyError, Reply, read_reply
from lockstore.client.steps_log import log_answer, log_step
from lockstore.errors import BrokerLostError
from lockstore.protocol.messages import GrantedMessage, RejectedMessage
from lockstore.protocol.naming import Names
from lockstore.util.timeouts import timeout

__all__ = ["CallRegistry", "Listener"]

logger = logging.getLogger(__name__)

RELEASE_LIMIT_S = 2.0
"""How long leaving a lock waits for the broker. After that, the release is sent in the background."""

GIVE_BACK_LIMIT_S = 3.0
"""How long a client whose tasks were cancelled from outside tries to give everything back."""

FINISHED_MOST = 10_000  # finished calls whose late answers are still handled


class Listener(Protocol):
    """The waiting or holding half of a call. Called in the event loop; must not block."""

    def handle_decision(self, decision: Decision) -> None:
        """Handle a decision."""

    def connected(self) -> None:
        """Handle a new connection."""

    def disconnected(self) -> None:
        """Handle the loss of the connection: answers to what was sent on it will not arrive."""

    def closed(self) -> None:
        """Stop: the client is being closed."""


class CallRegistry:
    """The calls of one client by their request ids, and what they share: connection, release queue, routes."""

    def __init__(self, hosts: BrokerHosts, names: Names, partitions: int) -> None:
        self.names = names
        self.routes = Routes(partitions)
        self.reconnector = Reconnector(hosts, names, self)
        self.releases = ReleaseQueue(self.reconnector, self.routes)
        self._calls: dict[str, tuple[Call, Listener]] = {}
        self._finished: OrderedDict[str, str] = OrderedDict()  # request id to conversation id, oldest first
        self._no_calls = asyncio.Event()
        self._no_calls.set()
        self._log = RateLimitedLog(logger)

    def listen(self, call: Call, listener: Listener) -> None:
        """Pass the call's answers to this listener from now on, instead of the previous one."""
        self._calls[call.request_id] = (call, listener)
        self._no_calls.clear()

    def forget(self, call: Call) -> None:
        """Stop passing on answers to the call's request id."""
        self._calls.pop(call.request_id, None)
        if call.asked:
            self._finished[call.request_id] = call.params.conversation_id
            if len(self._finished) > FINISHED_MOST:
                self._finished.popitem(last=False)
        if not self._calls:
            self._no_calls.set()

    async def give_back(self, call: Call) -> None:
        """Release what a call holds, and wait briefly for the broker's confirm."""
        log_step("lost" if call.lost is not None else "released", call, f": {call.lost}" if call.lost else "")
        outbound = call.give_back()
        is_sent = call.is_known_over
        try:
            connection = self.reconnector.current
            if connection is not None and call.lost is None and not is_sent:
                await connection.publish(outbound, self.routes, RELEASE_LIMIT_S)
                is_sent = True
        except (BrokerLostError, NotTakenError, TimeoutError):
            pass
        finally:
            if not is_sent:
                self.releases.put(outbound)
            self.forget(call)

    def abandon(self, call: Call) -> None:
        """Abandon a call: if it is granted later, it is released."""
        self.forget(call)
        if call.asked and not call.is_known_over:
            self.releases.put(call.give_back())

    async def give_all_back(self) -> None:
        """Do what `close` does, within a limit, after the client's tasks were cancelled from outside."""
        sending = asyncio.create_task(self.releases.run(), name="lockstore releases, at the end")
        try:
            with suppress(TimeoutError):
                async with timeout(GIVE_BACK_LIMIT_S):
                    await self.close()
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    async def close(self) -> None:
        """Stop every call, and wait until all releases have been sent."""
        for _, listener in list(self._calls.values()):
            listener.closed()
        await self._no_calls.wait()
        await self.releases.emptied()

    # --- connection changes --------------------------------------------------------------------------------------

    def connected(self) -> None:
        """Notify every call."""
        for _, listener in list(self._calls.values()):
            listener.connected()

    def disconnected(self) -> None:
        """Notify every call."""
        for _, listener in list(self._calls.values()):
            listener.disconnected()

    def handle_reply(self, message: DeliveredMessage) -> None:
        """Pass an answer to its call."""
        try:
            reply = read_reply(message)
        except InvalidReplyError as error:
            self._ignore("lock_client.reply_not_understood", str(error))
            return
        except Exception as error:  # noqa: BLE001 - what nobody thought of: only that message is not heard
            self._ignore("lock_client.reply_not_understood", f"it cannot be read: {type(error).__name__}")
            return
        known = self._calls.get(reply.request_id)
        if known is None:
            self._handle_late(reply)
            return
        call, listener = known
        if reply.message.conversation_id != call.params.conversation_id:
            self._ignore(
                "lock_client.reply_not_ours", "it is about another conversation than the request that it names"
            )
            return
        log_answer(reply.message, call)
        decision = call.handle_answer(reply.message, reply.tag, asyncio.get_running_loop().time())
        if decision is not None:
            if isinstance(decision, Resend) and decision.partitions is not None:
                self.routes.partitions = decision.partitions
                call.partition = None
            listener.handle_decision(decision)

    def _handle_late(self, reply: Reply) -> None:
        """Release a grant that no caller waits for, and resend a release that was routed to the wrong partition.

        Only for request ids of this client: it must not release what another client holds.
        """
        conversation_id = self._finished.get(reply.request_id)
        if conversation_id is None or conversation_id != reply.message.conversation_id:
            self._ignore("lock_client.reply_not_ours", "this client has no such request")
            return
        match reply.message:
            case GrantedMessage(ticket_number=number):
                del self._finished[reply.request_id]
                self.releases.put(release(conversation_id, reply.request_id, number, None))
            case RejectedMessage(reason="wrong_partition", partitions=int(count), ticket_number=number):
                if is_release(reply.tag):
                    if (
                        count == self.routes.partitions
                    ):  # another answer came first; resend only once more if a daemon errs
                        del self._finished[reply.request_id]
                    self.routes.partitions = count
                    self.releases.put(release(conversation_id, reply.request_id, number, None))
            case _:
                pass

    def _ignore(self, code: str, reason: str) -> None:
        self._log.warning(code, "a message on the reply queue was ignored", reason)
