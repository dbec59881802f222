"""Publishing on aiormq's channel: the broker's answers find their messages, whatever order and grouping they come in."""

import asyncio
from collections.abc import AsyncIterator

import aiormq
import pytest
import pytest_asyncio
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from harness import RabbitMQ
from lockstore.amqp.publisher import Outgoing, Publisher
from lockstore.errors import BrokerLostError
from lockstore.util.cancellation import cancelling
from tests.support.proxy import Proxy

PATIENCE_S = 20.0


@pytest_asyncio.fixture
async def channel(rabbitmq: RabbitMQ) -> AsyncIterator[Channel]:
    connection = await aiormq.connect(rabbitmq.url)
    opened = await connection.channel()
    assert isinstance(opened, Channel)
    yield opened
    await connection.close()


@pytest_asyncio.fixture
async def queue(channel: Channel, namespace: str) -> str:
    await channel.queue_declare(namespace, exclusive=True)
    return namespace


def message(queue: str, place: int = 0, *, mandatory: bool = True, body: bytes = b"{}") -> Outgoing:
    return Outgoing(body, Basic.Properties(message_id=f"m{place}", delivery_mode=2), queue, mandatory=mandatory)


async def bodies(channel: Channel, queue: str, count: int) -> list[bytes]:
    got = [await channel.basic_get(queue, no_ack=True) for _ in range(count + 1)]
    assert isinstance(got[-1].delivery, Basic.GetEmpty), "more than was published"
    return [item.body for item in got[:-1]]


async def test_a_batch_arrives_in_order_and_is_confirmed(channel: Channel, queue: str) -> None:
    publisher = Publisher(channel)
    sizes = [0, 1, 100, channel.max_content_size - 1, channel.max_content_size, 3 * channel.max_content_size + 7]
    sent = [bytes([place]) * size for place, size in enumerate(sizes)]
    results = await publisher.publish([message(queue, place, body=body) for place, body in enumerate(sent)])
    assert results == [None] * len(sizes)
    assert await bodies(channel, queue, len(sizes)) == sent


async def test_nothing_to_publish_is_done_at_once(channel: Channel) -> None:
    assert await Publisher(channel).publish([]) == []


async def test_batches_of_many_tasks_stay_whole_and_in_order(channel: Channel, queue: str) -> None:
    publisher = Publisher(channel)
    batches = [[b"%d.%d" % (batch, place) for place in range(7)] for batch in range(60)]
    publishing = (publisher.publish([message(queue, body=body) for body in batch]) for batch in batches)
    assert await asyncio.gather(*publishing) == [[None] * 7] * 60
    assert await bodies(channel, queue, 420) == [body for batch in batches for body in batch]


async def test_what_no_queue_takes_comes_back_to_its_own_place(channel: Channel, queue: str) -> None:
    publisher = Publisher(channel)
    places = [queue, "no queue", queue, "no queue", queue]
    results = await publisher.publish([message(name, place) for place, name in enumerate(places)])
    assert [type(result) for result in results] == [type(None), PublishError, type(None), PublishError, type(None)]
    assert len(await bodies(channel, queue, 3)) == 3
    assert not channel.message_id_delivery_tag
    assert not channel.confirmations


async def test_what_nobody_needs_to_know_of_is_gone_without_a_word(channel: Channel) -> None:
    assert await Publisher(channel).publish([message("no queue", mandatory=False)]) == [None]


async def test_what_the_broker_refuses_is_told_from_what_it_takes(channel: Channel, namespace: str) -> None:
    await channel.queue_declare(
        namespace, exclusive=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"}
    )
    publisher = Publisher(channel)
    results = [result for place in range(5) for result in await publisher.publish([message(namespace, place)])]
    assert [type(result) for result in results] == [type(None)] * 3 + [DeliveryError] * 2


async def test_a_channel_that_closes_meanwhile_ends_the_waiting(channel: Channel, namespace: str) -> None:
    publisher = Publisher(channel)
    lost = [Outgoing(b"{}", Basic.Properties(message_id="m"), "x", f"no exchange {namespace}")]
    with pytest.raises(BrokerLostError):
        async with asyncio.timeout(PATIENCE_S):
            await publisher.publish(lost)
    with pytest.raises(BrokerLostError):
        await publisher.publish(lost)


async def test_a_connection_that_is_cut_meanwhile_ends_the_waiting(proxy: Proxy, namespace: str) -> None:
    connection = await aiormq.connect(proxy.url)
    channel = await connection.channel()
    assert isinstance(channel, Channel)
    await channel.queue_declare(namespace, exclusive=True)
    publishing = asyncio.create_task(Publisher(channel).publish([message(namespace, place) for place in range(3)]))
    await asyncio.sleep(0)
    proxy.cut()
    with pytest.raises(BrokerLostError):
        async with asyncio.timeout(PATIENCE_S):
            await publishing
    assert cancelling(publishing) == 0


async def test_whoever_stops_waiting_harms_nobody_else(channel: Channel, queue: str) -> None:
    publisher = Publisher(channel)
    sent = [await publisher.send([message(queue, place)]) for place in range(3)]
    waiting = [asyncio.create_task(item.answers()) for item in sent]
    await asyncio.sleep(0)
    waiting[1].cancel()
    assert await waiting[0] == [None]
    assert await waiting[2] == [None]
    assert waiting[1].cancelled()
    assert await publisher.publish([message("no queue", 9), message(queue, 10)]) != [None, None]


async def test_what_could_not_be_sent_is_not_counted(channel: Channel, queue: str) -> None:
    """The connection's queue is full, and who waits for room in it gives up: the broker will not count his message."""
    publisher = Publisher(channel)
    held = channel.write_queue
    channel.write_queue = asyncio.Queue(1)
    channel.write_queue.put_nowait(None)
    stuck = asyncio.create_task(publisher.publish([message(queue, place) for place in range(4)]))
    behind = asyncio.create_task(publisher.publish([message("no queue", 5), message(queue, 6)]))
    await asyncio.sleep(0.01)
    assert len(channel.confirmations) == 4
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)
    channel.write_queue = held
    blocked = behind.done()
    behind.cancel()
    await asyncio.gather(behind, return_exceptions=True)
    assert not blocked
    results = await publisher.publish([message("no queue", 7), message(queue, 8)])
    assert [type(result) for result in results] == [PublishError, type(None)]
    assert not channel.confirmations


async def test_who_waits_for_room_is_told_when_the_connection_is_lost(proxy: Proxy, namespace: str) -> None:
    """A writer that is gone makes no room any more."""
    connection = await aiormq.connect(proxy.url)
    channel = await connection.channel()
    assert isinstance(channel, Channel)
    channel.write_queue = asyncio.Queue(1)
    channel.write_queue.put_nowait(None)
    publisher = Publisher(channel)
    publishing = [asyncio.create_task(publisher.publish([message(namespace, place)])) for place in range(3)]
    await asyncio.sleep(0.01)
    proxy.cut()
    async with asyncio.timeout(PATIENCE_S):
        ends = await asyncio.gather(*publishing, return_exceptions=True)
    assert [type(end) for end in ends] == [BrokerLostError] * 3


async def test_messages_with_one_id_come_back_each_to_its_own_place(channel: Channel, queue: str) -> None:
    """The same grant for several reply queues has one message id; aiormq looks for what came back by that alone."""
    publisher = Publisher(channel)
    names = ["gone 1", queue, "gone 2", queue, "gone 1", "gone 3"]
    results = await publisher.publish([message(name) for name in names])
    returned = [result.args[1] if isinstance(result, PublishError) else result for result in results]
    assert returned == ["gone 1", None, "gone 2", None, "gone 1", "gone 3"]
    assert len(await bodies(channel, queue, 2)) == 2
    assert not channel.message_id_delivery_tag
    assert not channel.confirmations


async def test_batches_that_are_under_way_together_share_an_id(channel: Channel, queue: str) -> None:
    publisher = Publisher(channel)
    sent = [await publisher.send([message(name)]) for name in ("gone", queue, "gone", queue)]
    results = [(await item.answers())[0] for item in sent]
    assert [type(result) for result in results] == [PublishError, type(None)] * 2
    assert not channel.message_id_delivery_tag
    assert not channel.confirmations
