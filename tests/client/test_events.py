"""Following the public events, against a real RabbitMQ."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from harness import RabbitMQ
from lockstore.client import LockClient
from lockstore.protocol.messages import ExpiredMessage, Outbound, ReleasedMessage
from tests.client.stand_in import LIMIT_S, StandIn
from tests.support.proxy import Proxy

MARK = "mark"  # an event that only tells that the feed is on


class Reader:
    """Reads a feed in a task of its own."""

    def __init__(self, feed: AsyncGenerator[Outbound, None]) -> None:
        self._read: asyncio.Queue[Outbound] = asyncio.Queue()
        self._feed = feed
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with aclosing(self._feed) as events:
            async for event in events:
                self._read.put_nowait(event)

    async def next(self) -> Outbound:
        async with asyncio.timeout(LIMIT_S):
            while MARK in str((event := await self._read.get()).request_id):
                pass
            return event

    async def is_on(self, daemon: StandIn, conversation: str = "talk") -> None:
        """Wait until it hears."""
        heard = asyncio.create_task(self._read.get())
        async with asyncio.timeout(LIMIT_S):
            while not heard.done():
                await daemon.announce("expired", conversation, phase="held", ticket_number=0, request_id=MARK)
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_events_of_the_named_types_are_heard(daemon: StandIn, locks: LockClient) -> None:
    reader = Reader(locks.events("released", "expired"))
    await reader.is_on(daemon)
    await daemon.announce("cancelled", "talk", reason="forced", ticket_number=1)
    await daemon.announce("released", "user.42", held=1.5, reason="holder", ticket_number=2)
    event = await reader.next()
    assert isinstance(event, ReleasedMessage)
    assert (event.conversation_id, event.ticket_number, event.held) == ("user.42", 2, 1.5)
    await reader.stop()


async def test_events_of_one_conversation_are_heard(daemon: StandIn, locks: LockClient) -> None:
    """Also when its name means something to the topic exchange."""
    reader = Reader(locks.events(conversation="user.*"))
    await reader.is_on(daemon, "user.*")
    await daemon.announce("expired", "user.1", phase="held", ticket_number=1)
    await daemon.announce("expired", "user.*", phase="held", ticket_number=2)
    event = await reader.next()
    assert (event.conversation_id, event.ticket_number) == ("user.*", 2)
    await reader.stop()


async def test_an_event_announced_twice_is_heard_once(daemon: StandIn, locks: LockClient) -> None:
    reader = Reader(locks.events())
    await reader.is_on(daemon)
    for number in (1, 1, 2):
        await daemon.announce("expired", "talk", message_id=f"id-{number}", phase="held", ticket_number=number)
    assert [(await reader.next()).ticket_number for _ in range(2)] == [1, 2]
    await reader.stop()


async def test_more_events_than_fit_are_all_heard(daemon: StandIn, locks: LockClient) -> None:
    reader = Reader(locks.events("expired"))
    await reader.is_on(daemon)
    for number in range(500):
        await daemon.announce("expired", "talk", phase="held", ticket_number=number)
    assert [(await reader.next()).ticket_number for _ in range(500)] == list(range(500))
    await reader.stop()


async def test_it_goes_on_after_a_cut(daemon: StandIn, locks: LockClient, proxy: Proxy) -> None:
    reader = Reader(locks.events("expired"))
    await reader.is_on(daemon)
    proxy.cut()
    await reader.is_on(daemon)
    await daemon.announce("expired", "talk", phase="held", ticket_number=5)
    event = await reader.next()
    assert isinstance(event, ExpiredMessage)
    assert event.ticket_number == 5
    await reader.stop()


async def test_it_begins_before_any_daemon(rabbitmq: RabbitMQ, namespace: str, locks: LockClient) -> None:
    reader = Reader(locks.events())
    await asyncio.sleep(0.1)
    async with StandIn(rabbitmq.url, namespace) as daemon:
        await reader.is_on(daemon)
        await reader.stop()


async def test_it_ends_with_the_client(daemon: StandIn, rabbitmq: RabbitMQ) -> None:
    async with LockClient(rabbitmq.url, namespace=daemon.namespace) as locks:
        reader = Reader(locks.events())
        await reader.is_on(daemon)
    async with asyncio.timeout(LIMIT_S):
        await reader.task


async def test_a_type_that_is_not_public_is_refused(locks: LockClient) -> None:
    with pytest.raises(ValueError, match="renewed"):
        locks.events("renewed")
