"""Announcing: events become messages, and are done with when the broker has confirmed them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiormq.channel import Channel
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from daemon.dead_letter import DeadLetter
from lockstore.commands import Withdraw
from lockstore.errors import BrokerLostError
from lockstore.events import Event, Granted, is_public
from lockstore.outcomes import Entry, Notice
from lockstore.publisher import Outgoing, Publisher, Sent
from lockstore.wire import Names, encode, message_id, type_of

__all__ = ["Announced", "Announcer", "Announcing", "Unreachable"]

_PERSISTENT = 2  # AMQP's delivery mode


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A grant that nobody took: its ticket is to be withdrawn, and only then its event is done with."""

    withdraw: Withdraw
    entry: Entry | None


@dataclass(slots=True)
class Announced:
    """What came of announcing: events that are done with, grants that came back, events that the broker refused."""

    entries: list[Entry] = field(default_factory=list)
    unreachable: list[Unreachable] = field(default_factory=list)
    refused: int = 0


_Told = tuple[Notice, Outgoing]
_Written = tuple[bytes, Basic.Properties]


class Announcing:
    """Events on their way to the broker."""

    def __init__(self, notices: Sequence[Notice]) -> None:
        self._notices = notices
        self._sent: list[tuple[list[_Told], Sent]] = []

    async def send(self, publisher: Publisher, told: list[_Told]) -> None:
        """Send some. Raises BrokerLostError."""
        if told:
            self._sent.append((told, await publisher.send([message for _, message in told])))

    async def judged(self) -> Announced:
        """Wait for the broker's answers, and tell which events are done with. Raises BrokerLostError."""
        announced = Announced()
        open_entries = {notice.entry: True for notice in self._notices if notice.entry is not None}
        for told, sent in self._sent:
            for (notice, _), fault in zip(told, await sent.answers(), strict=True):
                if fault is None:
                    continue
                if isinstance(fault, PublishError) and notice.event.number is not None:
                    gone = Withdraw(notice.event.conversation_id, notice.event.number, _unroutable(fault))
                    announced.unreachable.append(Unreachable(gone, notice.entry))
                else:
                    announced.refused += 1
                if notice.entry is not None:
                    open_entries.pop(notice.entry, None)
        announced.entries = list(open_entries)
        return announced


class Announcer:
    """Publishes replies on one channel and public events on another, each in the order given.

    So no one hears of a ticket's end before its grant, and a requester does not wait for what the public is told.
    """

    def __init__(self, replies: Channel, public: Channel | None, names: Names) -> None:
        """Take the channels; without one for the public, nothing is told to it."""
        self._replies = Publisher(replies)
        self._public = None if public is None else Publisher(public)
        self._names = names

    async def announce(self, notices: Sequence[Notice]) -> Announced:
        """Publish, and wait until the broker has confirmed or returned everything. Raises BrokerLostError."""
        return await (await self.send(notices)).judged()

    async def send(self, notices: Sequence[Notice]) -> "Announcing":
        """Publish, and do not wait for the broker. Raises BrokerLostError."""
        announcing = Announcing(notices)
        written: dict[int, _Written] = {}  # what the requester and the public are told is the same
        grants, others = _answers(notices)
        if grants:
            # Someone waits for each: they are on their way to the broker before anything else is even written.
            await announcing.send(self._replies, _replies(notices, grants, written))
            await asyncio.sleep(0)
        await announcing.send(self._replies, _replies(notices, others, written))
        if self._public is not None:
            await announcing.send(self._public, self._public_events(notices, written))
        return announcing

    def _public_events(self, notices: Sequence[Notice], written: dict[int, _Written]) -> list[_Told]:
        public: list[_Told] = []
        for place, notice in enumerate(notices):
            event = notice.event
            if is_public(event):
                body, properties = written.get(place) or _written(event)
                key = f"{type_of(event)}.{event.conversation_id}"
                public.append((notice, Outgoing(body, properties, key, self._names.events)))
        return public

    async def park(self, dead: DeadLetter) -> None:
        """Put a message among the dead letters, with the reason. Raises BrokerLostError."""
        properties = dead.written(self._replies.header_max)
        [refused] = await self._replies.publish([Outgoing(dead.body, properties, "", self._names.dead_letters)])
        if refused is not None:
            raise BrokerLostError(str(refused)) from refused


def _answers(notices: Sequence[Notice]) -> tuple[list[int], list[int]]:
    """Find the places of the grants, which go first, and of the other replies; those of one ticket stay in order."""
    grants: list[int] = []
    others: list[int] = []
    told: set[tuple[str, int | None]] = set()
    for place, notice in enumerate(notices):
        event = notice.event
        if event.to.reply_to:
            ticket = (event.conversation_id, event.number)
            (grants if isinstance(event, Granted) and ticket not in told else others).append(place)
            told.add(ticket)
    return grants, others


def _replies(notices: Sequence[Notice], places: Sequence[int], written: dict[int, _Written]) -> list[_Told]:
    replies: list[_Told] = []
    for place in places:
        event = notices[place].event
        written[place] = body, properties = _written(event)
        reply = Outgoing(body, properties, event.to.reply_to or "", mandatory=isinstance(event, Granted))
        replies.append((notices[place], reply))
    return replies


def _written(event: Event) -> _Written:
    to = event.to
    properties = Basic.Properties(
        content_type="application/json",
        headers={"traceparent": to.traceparent} if to.traceparent else None,
        delivery_mode=_PERSISTENT,
        correlation_id=to.correlation_id,
        message_id=message_id(event),
        message_type=type_of(event),
    )
    return encode(event), properties


def _unroutable(returned: PublishError) -> str:
    """Give the queue that was not there: what the broker says, whichever message aiormq takes it for."""
    delivery = returned.message.delivery if returned.message else None
    return str(delivery.routing_key) if isinstance(delivery, Basic.Return) else ""
