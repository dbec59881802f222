"""Where all calls of a client meet: answers find their call here, and whatever answers nobody is dealt with."""

import asyncio
import logging
from collections import OrderedDict
from typing import Protocol

from aiormq.abc import DeliveredMessage

from lockstore.client.call_state import Call
from lockstore.client.connection import NotTakenError
from lockstore.client.decisions import Decision, WrongPartition
from lockstore.client.log_limit import RateLimitedLog
from lockstore.client.outbound import Routes, is_release, release
from lockstore.client.reconnect import Reconnector
from lockstore.client.release_queue import ReleaseQueue
from lockstore.client.replies import InvalidReplyError, Reply, read_reply
from lockstore.errors import BrokerLostError
from lockstore.protocol.messages import GrantedMessage, RejectedMessage
from lockstore.protocol.naming import Names

__all__ = ["CallRegistry", "Listener"]

logger = logging.getLogger(__name__)

RELEASE_LIMIT_S = 2.0
"""How long leaving a lock waits for the broker. After that the outbox goes on trying, and the caller goes on."""

FINISHED_MOST = 10_000  # calls that are over, and whose late answers are still acted on


class Listener(Protocol):
    """The waiting or holding side of a call. Called in the event loop, never waits."""

    def told(self, outcome: Decision) -> None:
        """Take in what an answer meant."""

    def connected(self) -> None:
        """Take note of a new connection."""

    def disconnected(self) -> None:
        """Take note that the answers to what was sent will not come."""

    def closed(self) -> None:
        """Stop: the client is being closed."""


class CallRegistry:
    """The calls of one client by their request ids, and what they share: the link, the outbox, the routes."""

    def __init__(self, url: str, names: Names, partitions: int) -> None:
        self.names = names
        self.routes = Routes(partitions)
        self.link = Reconnector(url, names, self)
        self.outbox = ReleaseQueue(self.link, self.routes)
        self._calls: dict[str, tuple[Call, Listener]] = {}
        self._finished: OrderedDict[str, str] = OrderedDict()  # request id to conversation id, the oldest first
        self._no_calls = asyncio.Event()
        self._no_calls.set()
        self._log = RateLimitedLog(logger)

    def listen(self, call: Call, listener: Listener) -> None:
        """Let this listener hear what is said to the call, from now on and instead of the one before."""
        self._calls[call.request_id] = (call, listener)
        self._no_calls.clear()

    def forget(self, call: Call) -> None:
        """Let nobody hear what is said to the call's request id any more."""
        self._calls.pop(call.request_id, None)
        if call.asked:
            self._finished[call.request_id] = call.wanted.conversation_id
            if len(self._finished) > FINISHED_MOST:
                self._finished.popitem(last=False)
        if not self._calls:
            self._no_calls.set()

    async def give_back(self, call: Call) -> None:
        """Release what a call holds, and wait, not for long, until the broker has the release."""
        letter = call.give_back()
        is_sent = call.is_known_over
        try:
            epoch = self.link.current
            if epoch is not None and not call.lost and not is_sent:
                await epoch.publish(letter, self.routes, RELEASE_LIMIT_S)
                is_sent = True
        except (BrokerLostError, NotTakenError, TimeoutError):
            pass
        finally:
            if not is_sent:
                self.outbox.put(letter)
            self.forget(call)

    def abandon(self, call: Call) -> None:
        """Give up a call: if its turn still comes, it is given back."""
        self.forget(call)
        if call.asked and not call.is_known_over:
            self.outbox.put(call.give_back())

    async def close(self) -> None:
        """Stop every call, and wait until each has given back what it held and all of that is sent."""
        for _, listener in list(self._calls.values()):
            listener.closed()
        await self._no_calls.wait()
        await self.outbox.emptied()

    # --- the link's subscriber ------------------------------------------------------------------------------------

    def connected(self) -> None:
        """Tell every call."""
        for _, listener in list(self._calls.values()):
            listener.connected()

    def disconnected(self) -> None:
        """Tell every call."""
        for _, listener in list(self._calls.values()):
            listener.disconnected()

    def handle_reply(self, message: DeliveredMessage) -> None:
        """Bring an answer to the call that it is for."""
        try:
            reply = read_reply(message)
        except InvalidReplyError as error:
            self._ignore("lock_client.reply_not_understood", str(error))
            return
        known = self._calls.get(reply.request_id)
        if known is None:
            self._heard_late(reply)
            return
        call, listener = known
        if reply.message.conversation_id != call.wanted.conversation_id:
            self._ignore(
                "lock_client.reply_not_ours", "it is about another conversation than the request that it names"
            )
            return
        outcome = call.hear(reply.message, reply.tag, asyncio.get_running_loop().time())
        if outcome is not None:
            if isinstance(outcome, WrongPartition):
                self.routes.partitions = outcome.partitions
                call.partition = None
            listener.told(outcome)

    def _heard_late(self, reply: Reply) -> None:
        """Give back a grant that nobody waits for any more, and send a release again that went to the wrong place.

        Only for requests of this client's: it must not release for others what somebody else holds.
        """
        conversation_id = self._finished.get(reply.request_id)
        if conversation_id is None or conversation_id != reply.message.conversation_id:
            self._ignore("lock_client.reply_not_ours", "this client has no such request")
            return
        match reply.message:
            case GrantedMessage(ticket_number=number):
                del self._finished[reply.request_id]
                self.outbox.put(release(conversation_id, reply.request_id, number, None))
            case RejectedMessage(reason="wrong_partition", partitions=int(count), ticket_number=number):
                if is_release(reply.tag) and count != self.routes.partitions:
                    self.routes.partitions = count
                    self.outbox.put(release(conversation_id, reply.request_id, number, None))
            case _:
                pass

    def _ignore(self, code: str, reason: str) -> None:
        self._log.warning(code, "a message on the reply queue was ignored", reason)
