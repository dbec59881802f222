"""Where all calls of a client meet: answers find their call here, and whatever answers nobody is dealt with."""

import asyncio
import logging
from typing import Protocol

from aiormq.abc import DeliveredMessage
from pydantic import ValidationError

from lockstore.client.call import Call
from lockstore.client.epoch import NotTakenError
from lockstore.client.letters import Routes, is_release, release, split
from lockstore.client.link import Link
from lockstore.client.outbox import Outbox
from lockstore.client.outcomes import Misrouted, Outcome
from lockstore.errors import BrokerLostError
from lockstore.messages import OUTBOUND, GrantedMessage, Outbound, RejectedMessage
from lockstore.wire import Names

__all__ = ["Desk", "Listener"]

logger = logging.getLogger(__name__)

RELEASE_LIMIT_S = 2.0
"""How long leaving a lock waits for the broker. After that the outbox goes on trying, and the caller goes on."""


class Listener(Protocol):
    """The waiting or holding side of a call. Called in the event loop, never waits."""

    def told(self, outcome: Outcome) -> None:
        """Take in what an answer meant."""

    def connected(self) -> None:
        """Take note of a new connection."""

    def disconnected(self) -> None:
        """Take note that the answers to what was sent will not come."""

    def closed(self) -> None:
        """Stop: the client is being closed."""


class Desk:
    """The calls of one client by their request ids, and what they share: the link, the outbox, the routes."""

    def __init__(self, url: str, names: Names, partitions: int) -> None:
        self.names = names
        self.routes = Routes(partitions)
        self.link = Link(url, names, self)
        self.outbox = Outbox(self.link, self.routes)
        self._calls: dict[str, tuple[Call, Listener]] = {}
        self._no_calls = asyncio.Event()
        self._no_calls.set()

    def listen(self, call: Call, listener: Listener) -> None:
        """Let this listener hear what is said to the call, from now on and instead of the one before."""
        self._calls[call.request_id] = (call, listener)
        self._no_calls.clear()

    def forget(self, call: Call) -> None:
        """Let nobody hear what is said to the call's request id any more."""
        self._calls.pop(call.request_id, None)
        if not self._calls:
            self._no_calls.set()

    async def give_back(self, call: Call) -> None:
        """Release what a call holds, and wait, not for long, until the broker has the release."""
        letter = call.give_back()
        try:
            epoch = self.link.current
            if call.is_known_over:
                pass
            elif epoch is None or call.lost:
                self.outbox.put(letter)  # nothing to wait for: it is late already
            else:
                await epoch.publish(letter, self.routes, RELEASE_LIMIT_S)
        except (BrokerLostError, NotTakenError, TimeoutError):
            self.outbox.put(letter)
        except asyncio.CancelledError:
            self.outbox.put(letter)
            raise
        finally:
            self.forget(call)

    def forgo(self, call: Call) -> None:
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

    def heard(self, message: DeliveredMessage) -> None:
        """Bring an answer to the call that it is for."""
        try:
            told = OUTBOUND.validate_json(message.body)
        except ValidationError:
            logger.warning("lock_client.answer_not_understood")
            return
        request_id, tag = split(message.header.properties.correlation_id or told.request_id or "")
        known = self._calls.get(request_id)
        if known is None:
            self._heard_late(told, request_id, tag)
            return
        call, listener = known
        outcome = call.hear(told, tag, asyncio.get_running_loop().time())
        if outcome is not None:
            if isinstance(outcome, Misrouted):
                self.routes.partitions = outcome.partitions
                call.partition = None
            listener.told(outcome)

    def _heard_late(self, told: Outbound, request_id: str, tag: str) -> None:
        """Give back a grant that nobody waits for any more, and send a release again that went to the wrong place."""
        match told:
            case GrantedMessage(conversation_id=str(conversation_id), ticket_number=number):
                self.outbox.put(release(conversation_id, request_id, number, None))
            case RejectedMessage(reason="wrong_partition", conversation_id=str(conversation_id), partitions=int(count)):
                if is_release(tag) and count != self.routes.partitions:
                    self.routes.partitions = count
                    self.outbox.put(release(conversation_id, request_id, told.ticket_number, None))
            case _:
                pass
