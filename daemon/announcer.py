"""Announcing: events become messages, and are done with when the broker has confirmed them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from aiormq.channel import Channel
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from daemon.publisher import Outgoing, Publisher, Unpublished
from lockstore.commands import Withdraw
from lockstore.errors import BrokerLostError
from lockstore.events import Event, Granted, is_public
from lockstore.outcomes import Entry, Notice
from lockstore.wire import Names, encode, message_id, type_of

__all__ = ["Announced", "Announcer", "Unreachable"]

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
        public: list[_Told] = []
        grants: list[_Told] = []
        others: list[_Told] = []
        told: set[tuple[str, int | None]] = set()
        for notice in notices:
            event = notice.event
            body, properties = encode(event), _properties(event)
            if self._public is not None and is_public(event):
                key = f"{type_of(event)}.{event.conversation_id}"
                public.append((notice, Outgoing(body, properties, key, self._names.events)))
            if event.to.reply_to:
                granted = isinstance(event, Granted)
                ticket = (event.conversation_id, event.number)
                reply = Outgoing(body, properties, event.to.reply_to, mandatory=granted)
                (grants if granted and ticket not in told else others).append((notice, reply))
                told.add(ticket)
        # The grants first, because someone waits for them; but the replies of one ticket stay in order.
        replies = [*grants, *others]
        publishing = [self._replies.publish([message for _, message in replies])]
        if self._public is not None:
            publishing.append(self._public.publish([message for _, message in public]))
        results = await asyncio.gather(*publishing)
        return _judged(notices, [notice for notice, _ in (*replies, *public)], list(chain.from_iterable(results)))

    async def park(self, body: bytes, properties: Basic.Properties, reason: str, detail: str) -> None:
        """Put a message among the dead letters, as it came, with the reason. Raises BrokerLostError."""
        headers = {**(properties.headers or {}), "x-error-reason": reason, "x-error-detail": detail}
        kept = Basic.Properties(
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            headers=headers,
            delivery_mode=_PERSISTENT,
            correlation_id=properties.correlation_id,
            reply_to=properties.reply_to,
            message_id=properties.message_id,
            timestamp=properties.timestamp,
            message_type=properties.message_type,
            app_id=properties.app_id,
        )
        [refused] = await self._replies.publish([Outgoing(body, kept, "", self._names.dead_letters)])
        if refused is not None:
            raise BrokerLostError(str(refused)) from refused


def _properties(event: Event) -> Basic.Properties:
    to = event.to
    return Basic.Properties(
        content_type="application/json",
        headers={"traceparent": to.traceparent} if to.traceparent else None,
        delivery_mode=_PERSISTENT,
        correlation_id=to.correlation_id,
        message_id=message_id(event),
        message_type=type_of(event),
    )


def _unroutable(returned: PublishError) -> str:
    """Give the queue that was not there: what the broker says, whichever message aiormq takes it for."""
    delivery = returned.message.delivery if returned.message else None
    return str(delivery.routing_key) if isinstance(delivery, Basic.Return) else ""


def _judged(notices: Sequence[Notice], sent: list[Notice], results: list[Unpublished | None]) -> Announced:
    """Tell from the broker's answers which events are done with."""
    announced = Announced()
    open_entries = {notice.entry: True for notice in notices if notice.entry is not None}
    for notice, result in zip(sent, results, strict=True):
        if result is None:
            continue
        if isinstance(result, PublishError) and notice.event.number is not None:
            gone = Withdraw(notice.event.conversation_id, notice.event.number, _unroutable(result))
            announced.unreachable.append(Unreachable(gone, notice.entry))
        else:
            announced.refused += 1
        if notice.entry is not None:
            open_entries.pop(notice.entry, None)
    announced.entries = list(open_entries)
    return announced
