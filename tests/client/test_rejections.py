"""A channel that rejects every message is replaced: RabbitMQ may go on rejecting on it when the queue is well again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiormq
import pytest
import pytest_asyncio
from aiormq.abc import AbstractChannel

from harness import RabbitMQ
from lockstore.amqp.publisher import Publisher
from lockstore.client import LockClient
from lockstore.client import connection as module
from tests.client.stand_in import LIMIT_S, StandIn


@pytest_asyncio.fixture
async def own(rabbitmq: RabbitMQ) -> AsyncIterator[AbstractChannel]:
    """A channel of the test's own."""
    connection = await aiormq.connect(rabbitmq.url)
    yield await connection.channel()
    await connection.close()


@pytest_asyncio.fixture
async def queue(own: AbstractChannel, namespace: str) -> str:
    """A request queue that is full, and rejects what is published."""
    name = f"{namespace}.requests.0"
    await own.exchange_declare(f"{namespace}.requests", exchange_type="direct", durable=True)
    await own.queue_declare(name, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    await own.queue_bind(name, f"{namespace}.requests", "0")
    await own.basic_publish(b"{}", routing_key=name)
    return name


@pytest.fixture
def publishers(monkeypatch: pytest.MonkeyPatch) -> list[Publisher]:
    """Replace channels soon, and note what publishes."""
    made: list[Publisher] = []

    class Noted(Publisher):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel)
            made.append(self)

    monkeypatch.setattr(module, "REJECTED_FIRST_S", 0.01)
    monkeypatch.setattr(module, "REJECTED_MOST_S", 0.01)
    monkeypatch.setattr(module, "Publisher", Noted)
    return made


async def entered(locks: LockClient) -> int:
    async with locks.lock("talk") as ticket:
        return ticket.number


async def test_it_is_replaced_and_its_replies_and_those_who_wait_stay(
    rabbitmq: RabbitMQ, namespace: str, own: AbstractChannel, queue: str, publishers: list[Publisher]
) -> None:
    async with LockClient(rabbitmq.url, namespace=namespace) as locks:
        asking = asyncio.create_task(entered(locks))
        async with asyncio.timeout(LIMIT_S):
            while len(publishers) < 4:
                await asyncio.sleep(0.01)
        assert not asking.done()
        assert sum(not publisher.is_closed for publisher in publishers) <= 3, "those that are replaced are closed"
        await own.queue_delete(queue)
        async with StandIn(rabbitmq.url, namespace) as daemon:
            request = await daemon.take("request")
            await daemon.grant(request)
            assert await asking == 7
        assert locks._registry is not None
        connection = locks._registry.reconnector.current
        assert connection is not None
        assert (connection.number, connection.reply_to) == (1, request.properties.reply_to), "it is the first one still"
        assert not publishers[0].is_closed, "replies still come on the first channel"
        assert not publishers[-1].is_closed


async def test_a_publishing_channel_that_ends_ends_the_connection(
    rabbitmq: RabbitMQ, namespace: str, own: AbstractChannel, queue: str, publishers: list[Publisher]
) -> None:
    async with LockClient(rabbitmq.url, namespace=namespace) as locks:
        asking = asyncio.create_task(entered(locks))
        async with asyncio.timeout(LIMIT_S):
            while len(publishers) < 2:
                await asyncio.sleep(0.01)
            await own.exchange_delete(f"{namespace}.requests")  # publishing to it closes the channel
            await own.queue_delete(queue)
            while publishers[1].is_closed is False:
                await asyncio.sleep(0.01)
        async with StandIn(rabbitmq.url, namespace) as daemon:
            await daemon.grant(await daemon.take("request"))
            assert await asking == 7
        assert publishers[0].is_closed
