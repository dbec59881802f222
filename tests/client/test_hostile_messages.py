"""A client's connection outlives whatever a publisher puts into what it reads: replies and the public events."""

import asyncio
import json

from harness import RabbitMQ
from lockstore.client import LockClient
from lockstore.protocol.messages import ReleasedMessage
from tests.client.stand_in import StandIn
from tests.client.test_events import Reader
from tests.client.test_obtaining import hold
from tests.support.hostile_properties import UNREADABLE, UNUSUAL
from tests.support.proxy import Proxy
from tests.support.raw_publisher import HEADERS, RawPublisher, long

HOSTILE = [properties for properties, _ in UNREADABLE.values()] + [{HEADERS: long(value)} for value in UNUSUAL.values()]


async def test_no_event_ends_the_connection_of_those_who_follow(
    daemon: StandIn, locks: LockClient, rabbitmq: RabbitMQ, proxy: Proxy
) -> None:
    reader = Reader(locks.events())
    await reader.is_on(daemon)
    async with RawPublisher(rabbitmq.url) as publisher:
        for properties in HOSTILE:
            await publisher.publish(f"{daemon.namespace}.events", b"released.talk", b"nonsense", properties)
        await publisher.publish(f"{daemon.namespace}.events", b"released.\xff", b"[" * 5000, {})
        await publisher.publish(f"{daemon.namespace}.events", b"released.talk", b"[" * 3 * 2**20, {})
    await daemon.announce("released", "talk", held=1.5, reason="holder", ticket_number=2)
    event = await reader.next()
    assert isinstance(event, ReleasedMessage)
    assert event.ticket_number == 2
    assert proxy.connections == 1
    await reader.stop()


async def test_an_event_with_a_property_that_nobody_can_read_is_heard_all_the_same(
    daemon: StandIn, locks: LockClient, rabbitmq: RabbitMQ
) -> None:
    reader = Reader(locks.events())
    await reader.is_on(daemon)
    nobody = {"type": "released", "conversation_id": "talk", "ticket_number": 3, "request_id": "r", "holder": None}
    body = json.dumps({**nobody, "at": 1.0, "held": 1.0, "reason": "holder"}).encode()
    async with RawPublisher(rabbitmq.url) as publisher:
        for properties, _ in UNREADABLE.values():
            await publisher.publish(f"{daemon.namespace}.events", b"released.talk", body, properties)
    for _ in UNREADABLE:
        assert (await reader.next()).ticket_number == 3
    await reader.stop()


async def test_no_reply_ends_the_connection(
    daemon: StandIn, locks: LockClient, rabbitmq: RabbitMQ, proxy: Proxy
) -> None:
    task = asyncio.create_task(hold(locks))
    request = await daemon.take("request")
    assert request.properties.reply_to is not None
    async with RawPublisher(rabbitmq.url) as publisher:
        for properties in HOSTILE:
            await publisher.publish("", request.properties.reply_to.encode(), b"nonsense", properties)
    await daemon.grant(request)
    assert (await task).number == 7
    assert proxy.connections == 1
