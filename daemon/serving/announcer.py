"""The announcer turns events into messages: a reply for the requester and a copy for the public.

An event is finished when RabbitMQ has confirmed both. A batch waits for confirms that arrive in time; whatever is late stays in
the outbox, and is removed from there when its confirm arrives (see `daemon/serving/dispatcher.py`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from aiormq.channel import Channel
from pamqp.commands import Basic
from pydantic_core import to_json

from daemon.serving.dead_letter import DeadLetter
from daemon.serving.dispatcher import Dispatcher
from daemon.serving.first_contacts import PublicChannel, ReplyChannel
from daemon.serving.pending_publish import Announcement, PendingPublish, PublishResult, UnroutableGrant
from daemon.serving.recipient import Copy, LaneName
from lockstore.amqp.content_header import PREFIX_BYTES
from lockstore.amqp.publisher import Outgoing, Publisher
from lockstore.core.events import Event, Granted, is_public
from lockstore.errors import BrokerLostError
from lockstore.protocol.codec import BODY_MAX_BYTES, encode, expiration_ms, message_id, type_of
from lockstore.protocol.naming import Names
from lockstore.stores.results import Notice, Unreadable

__all__ = ["Announcer"]

_PERSISTENT = 2  # AMQP's delivery mode

_log = structlog.get_logger()

_Written = tuple[bytes, Basic.Properties]


class Announcer:
    """Publishes replies on one channel and public events on another, each in the given order.

    No one therefore learns of a ticket's end before its grant, and requesters do not wait for public events.
    """

    def __init__(
        self,
        replies: Channel,
        public: Channel | None,
        names: Names,
        dispatcher: Dispatcher,
        on_unroutable: Callable[[Sequence[UnroutableGrant]], None],
    ) -> None:
        """Without a channel for the public, no public events are published.

        `on_unroutable` receives grants that are returned after their batch was over.
        """
        self._replies = Publisher(replies)
        self._public = None if public is None else Publisher(public)
        self._dead_letters = (
            self._public or self._replies
        )  # so that a dead-letter queue that hangs does not delay replies
        self._reply_channel = ReplyChannel(self._replies, dispatcher.contacts)
        self._public_channel = None if self._public is None else PublicChannel(self._public)
        self._names = names
        self._dispatcher = dispatcher
        self._on_unroutable = on_unroutable

    async def announce(self, notices: Sequence[Notice]) -> PublishResult:
        """Publish and wait for the confirms, until they are late. Raises BrokerLostError."""
        return await (await self.send(notices)).wait()

    async def send(self, notices: Sequence[Notice]) -> PendingPublish:
        """Publish without waiting for the broker. Raises BrokerLostError."""
        pending = PendingPublish(self._dispatcher, self._on_unroutable)
        written: dict[int, _Written | None] = {}  # requester and public get the same body
        batch = _Batch(notices, pending, written)
        grants, others = _answers(notices)
        for place, notice in enumerate(notices):
            batch.announcement(place, has_public=self._public is not None and is_public(notice.event))
        if grants:
            # Grants are what users wait for, so they are sent before anything else is even encoded.
            await self._send(self._copies(batch, grants, self._reply_channel), pending)
            await asyncio.sleep(0)
        await self._send(self._copies(batch, others, self._reply_channel), pending)
        if self._public_channel is not None:
            public = [place for place, notice in enumerate(notices) if is_public(notice.event)]
            await self._send(self._copies(batch, public, self._public_channel), pending)
        for letter in batch.set_aside.values():
            await self._set_aside(*letter)
        return pending

    @property
    def is_closed(self) -> bool:
        """Whether replies can no longer be published or confirmed."""
        return self._replies.is_closed

    def give_up(self, answer: Announcement) -> None:
        """Record that no delivery waits for this answer."""
        if answer.reply is not None:
            self._dispatcher.recipients.give_up(answer.reply)

    def drop(self, answer: Announcement) -> None:
        """Discard this answer if it is held back: its message will be processed again."""
        if answer.reply is not None:
            self._dispatcher.recipients.drop(answer.reply)

    async def set_aside(self, found: Sequence[Unreadable]) -> None:
        """Move unreadable records of an outbox to the dead letters. Raises BrokerLostError."""
        for item in found:
            _log.error("event.set_aside", shard=item.entry.shard, entry=item.entry.id, error=item.reason)
            await self._set_aside(item.record, item.reason)

    async def _set_aside(self, body: bytes, detail: str) -> None:
        self._dispatcher.outstanding.set_aside += 1
        headers: dict[str, Any] = {"x-error-reason": "unannounceable", "x-error-detail": _printable(detail)}
        kept = Basic.Properties(content_type="application/json", headers=headers, delivery_mode=_PERSISTENT)
        letter = Outgoing(body[: self._body_most], kept, "", self._names.dead_letters)
        await self._dead_letters.send_encoded([self._dead_letters.encode(letter)], lambda *_: None)

    async def _send(self, copies: list[Copy], pending: PendingPublish) -> None:
        for sent in await self._dispatcher.send(copies):
            pending.follow(sent)

    def _copies(self, batch: "_Batch", places: Sequence[int], outlet: ReplyChannel | PublicChannel) -> list[Copy]:
        """Encode the messages of one lane. Returns those that can be sent now."""
        lane: LaneName = "reply" if isinstance(outlet, ReplyChannel) else "public"
        now, dispatcher, pending = time.monotonic(), self._dispatcher, batch.pending
        admitted: list[Copy] = []
        held = False
        for place in places:
            announcement = batch.announcements[place]
            copy = self._copy(batch, place, lane, outlet, now)
            if copy is None:
                announcement.done()
                continue
            if lane == "reply":
                announcement.reply = copy
            is_sent, is_waited = dispatcher.recipients.admit(copy, now)
            if is_sent:
                admitted.append(copy)
            held = held or not is_sent
            if is_waited:
                announcement.waited |= 1 if lane == "reply" else 2
                pending.expect()
        if held:
            dispatcher.stir()
        return admitted

    def _copy(
        self, batch: "_Batch", place: int, lane: LaneName, outlet: ReplyChannel | PublicChannel, now: float
    ) -> Copy | None:
        """Encode one message, or return None if it cannot be encoded and was set aside."""
        event = batch.notices[place].event
        announcement = batch.announcements[place]
        try:
            written = batch.written.get(place) or _written(event, self._body_most)
            batch.written[place] = written
            if lane == "reply":
                lasts_ms = expiration_ms(event)
                name = event.to.reply_to or ""
                body, properties = written
                properties.expiration = str(lasts_ms)  # encoded immediately, so both copies can share them
                outgoing = Outgoing(body, properties, name, mandatory=isinstance(event, Granted))
                useless_at = now + lasts_ms / 1000
            else:
                name, useless_at = event.conversation_id, float("inf")
                written[1].expiration = None
                outgoing = Outgoing(*written, f"{type_of(event)}.{name}", self._names.events)
            payload = outlet.publisher.encode(outgoing)
        except Exception as error:  # noqa: BLE001 - a fault in one event must not keep others from being announced
            detail = f"{lane}: {type(error).__name__}: {error}"
            _log.error("event.set_aside", conversation=event.conversation_id, ticket=event.number, error=detail)
            batch.set_aside.setdefault(place, (_as_body(event), detail))
            return None
        return Copy(
            payload,
            outlet,
            lane,
            name,
            self._dispatcher.next_sequence(),
            announcement,
            useless_at,
        )

    @property
    def _body_most(self) -> int:
        """The largest body, in bytes: RabbitMQ's `max_message_size` may be smaller than ours."""
        most = self._dispatcher.outstanding.message_max
        return BODY_MAX_BYTES if most is None else min(BODY_MAX_BYTES, most)

    async def park(self, dead: DeadLetter) -> None:
        """Publish a message to the dead letters, with the reason. Raises BrokerLostError."""
        if len(dead.body) > self._body_most:
            notes = replace(dead.notes, body_size=dead.notes.body_size or len(dead.body))
            dead = replace(dead, body=dead.body[: min(PREFIX_BYTES, self._body_most)], notes=notes)
        properties = dead.written(self._dead_letters.header_max)
        [refused] = await self._dead_letters.publish([Outgoing(dead.body, properties, "", self._names.dead_letters)])
        if refused is not None:
            raise BrokerLostError(str(refused)) from refused


def _answers(notices: Sequence[Notice]) -> tuple[list[int], list[int]]:
    """Return the indexes of the grants, which go first, and of the other replies. A ticket's replies stay in order."""
    grants: list[int] = []
    others: list[int] = []
    seen: set[tuple[str, int | None]] = set()
    for place, notice in enumerate(notices):
        event = notice.event
        if event.to.reply_to:
            ticket = (event.conversation_id, event.number)
            (grants if isinstance(event, Granted) and ticket not in seen else others).append(place)
            seen.add(ticket)
    return grants, others


@dataclass(slots=True)
class _Batch:
    """The events of one batch while they are encoded."""

    notices: Sequence[Notice]
    pending: PendingPublish
    written: dict[int, _Written | None]
    announcements: list[Announcement] = field(default_factory=list)
    set_aside: dict[int, tuple[bytes, str]] = field(default_factory=dict)

    def announcement(self, place: int, *, has_public: bool) -> None:
        """Register an event, and count its messages before the first of them is answered."""
        event, entry = self.notices[place]
        messages = bool(event.to.reply_to) + has_public
        announcement = Announcement(event, entry, place, self.pending, messages or 1)
        self.announcements.append(announcement)
        self.pending.add(announcement)
        if not messages:
            announcement.done()  # no recipient


def _written(event: Event, most: int) -> _Written:
    to = event.to
    properties = Basic.Properties(
        content_type="application/json",
        headers={"traceparent": to.traceparent} if to.traceparent else None,
        delivery_mode=_PERSISTENT,
        correlation_id=to.correlation_id,
        message_id=message_id(event),
        message_type=type_of(event),
    )
    body = encode(event)
    if len(body) > most:
        message = f"an event of {len(body)} bytes, and {most} are the most"
        raise ValueError(message)
    return body, properties


def _as_body(event: Event) -> bytes:
    """Return a printable body for an event that cannot be announced."""
    return to_json(repr(event).encode("ascii", "backslashreplace").decode())


def _printable(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()[:500]
