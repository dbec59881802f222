"""What RabbitMQ takes from a publisher and hands to the daemon, though no AMQP library would write it: over real AMQP."""

import json
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness import DaemonProcess, RabbitMQ, RedisServer
from tests.conftest import shared_config
from tests.support.bot import Bot, dead_letters
from tests.support.hostile_properties import NOT_UTF8, UNREADABLE, UNUSUAL
from tests.support.raw_publisher import HEADERS, REPLY_TO, RawPublisher, field, long, short


@pytest.fixture(scope="module")
def namespace() -> str:
    """One daemon serves the whole module; tests keep apart by conversation."""
    return f"hostile{uuid.uuid4().hex[:8]}"


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def daemon(rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str) -> AsyncIterator[DaemonProcess]:
    async with DaemonProcess(shared_config(rabbitmq, redis_server, namespace)) as process:
        yield process
        assert process.events("broker.lost") == []


@pytest_asyncio.fixture
async def publisher(rabbitmq: RabbitMQ) -> AsyncIterator[RawPublisher]:
    async with RawPublisher(rabbitmq.url) as connected:
        yield connected


def a_request() -> bytes:
    body = {"type": "request", "conversation_id": f"hostile {uuid.uuid4()}", "request_id": uuid.uuid4().hex}
    return json.dumps(body).encode()


async def assert_still_serving(bot: Bot) -> None:
    await bot.lock(f"the next message {uuid.uuid4()}")


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_properties_that_cannot_be_read_are_refused_by_name_and_the_next_is_served(
    bot: Bot, publisher: RawPublisher, kind: str
) -> None:
    properties, fault = UNREADABLE[kind]
    body = a_request()
    reply_to = {REPLY_TO: short(bot.reply_to.encode())}
    await publisher.publish(f"{bot.namespace}.requests", b"0", body, {**properties, **reply_to})
    await assert_still_serving(bot)
    answer = await bot.expect("rejected", request_id=json.loads(body)["request_id"])
    assert (answer["reason"], answer["detail"]) == ("invalid", fault)
    [letter] = await dead_letters(bot, 1)
    assert letter.body == body
    assert letter.headers["x-error-detail"] == fault
    assert letter.headers["x-left-out"] == [fault]


async def test_a_reply_to_that_cannot_be_read_leaves_a_dead_letter(bot: Bot, publisher: RawPublisher) -> None:
    await publisher.publish(f"{bot.namespace}.requests", b"0", a_request(), {REPLY_TO: NOT_UTF8})
    await assert_still_serving(bot)
    [letter] = await dead_letters(bot, 1)
    assert letter.headers["x-error-detail"] == "reply_to: is not UTF-8"


@pytest.mark.parametrize("kind", UNUSUAL)
async def test_whatever_stands_in_the_headers_a_message_can_be_parked(
    bot: Bot, publisher: RawPublisher, kind: str
) -> None:
    await publisher.publish(f"{bot.namespace}.requests", b"0", b"nonsense", {HEADERS: long(UNUSUAL[kind])})
    await assert_still_serving(bot)
    [letter] = await dead_letters(bot, 1)
    assert letter.body == b"nonsense"
    assert letter.headers["x-error-reason"] == "invalid"


async def test_headers_that_fill_the_frame_are_left_out_where_the_reason_has_no_room(
    bot: Bot, publisher: RawPublisher
) -> None:
    headers = field(b"small", b"t", b"\1") + UNUSUAL["a header that fills the frame"]
    await publisher.publish(f"{bot.namespace}.requests", b"0", b"nonsense", {HEADERS: long(headers)})
    [letter] = await dead_letters(bot, 1)
    assert letter.headers["small"] is True
    assert letter.headers["x-left-out"] == ["headers.k: too large for the frame"]


async def test_a_routing_key_that_is_no_text_harms_nobody(
    bot: Bot, publisher: RawPublisher, rabbitmq: RabbitMQ
) -> None:
    exchange = f"{bot.namespace}.everything"
    await bot.channel.declare_exchange(exchange, "fanout", auto_delete=True)
    queue = await bot.channel.get_queue(f"{bot.namespace}.requests.0", ensure=False)
    await queue.bind(exchange)
    await publisher.publish(exchange, b"\xff\xfe" * 120, b"nonsense", {})
    await assert_still_serving(bot)
    [letter] = await dead_letters(bot, 1)
    assert letter.body == b"nonsense"
    await queue.unbind(exchange)


async def test_of_a_body_that_is_too_large_a_prefix_and_its_size_are_kept(bot: Bot, publisher: RawPublisher) -> None:
    body = b'{"type": "request", "padding": "' + b"x" * 20 * 2**20
    await publisher.publish(f"{bot.namespace}.requests", b"0", body, {REPLY_TO: short(bot.reply_to.encode())})
    await assert_still_serving(bot)
    answer = await bot.expect("rejected", reason="too_large")
    assert answer["detail"] == "body: must be at most 65536 bytes"
    [letter] = await dead_letters(bot, 1)
    assert letter.body == body[:4096]
    assert letter.headers["x-body-size"] == len(body)


async def test_no_word_of_a_daemon_that_cannot_be_read_ends_another(bot: Bot, publisher: RawPublisher) -> None:
    for properties, _ in UNREADABLE.values():
        await publisher.publish(f"{bot.namespace}.daemons", b"", b"{}", properties)
    await publisher.publish(f"{bot.namespace}.daemons", b"\xff", b"[" * 2000, {})
    await assert_still_serving(bot)
