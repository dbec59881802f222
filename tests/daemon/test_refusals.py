"""What the daemon refuses, over real AMQP: each reason of docs/protocol.md, and everything that is not a message at all."""

import json
import uuid
from collections.abc import AsyncIterator

import aio_pika
import pytest
import pytest_asyncio

from harness import DaemonProcess, RabbitMQ, RedisServer
from tests.conftest import DaemonMaker, shared_config
from tests.support.bot import Bot, dead_letters

MALFORMED: list[tuple[bytes, str]] = [
    (b"", "body: not valid JSON"),
    (b"{", "body: not valid JSON"),
    (b"\xff\xfe\x00", "body: not valid JSON"),
    (b"[" * 60_000, "body: not valid JSON: recursion limit exceeded"),
    (b'{"a":' * 5_000, "body: not valid JSON: recursion limit exceeded"),
    (b"null", "body: must be an object"),
    (b"[1]", "body: must be an object"),
    (b"{}", "type: must be one of request, release, renew"),
    (b'{"type": "lock", "conversation_id": "c"}', "type: must be one of request, release, renew"),
    (b'{"type": "request", "request_id": "r"}', "conversation_id: is required"),
    (b'{"type": "request", "conversation_id": 7, "request_id": "r"}', "conversation_id: must be a text"),
    (b'{"type": "request", "conversation_id": "", "request_id": "r"}', "conversation_id: must not be empty"),
    (b'{"type": "request", "conversation_id": "a\\u0000b", "request_id": "r"}', "conversation_id: must not contain control"),
    (b'{"type": "request", "conversation_id": "%s", "request_id": "r"}' % ("é" * 101).encode(), "conversation_id: must be at most"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "%s"}' % (b"r" * 65), "request_id: must have at most 64 characters"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "r", "lifetime": "30"}', "lifetime: must be a number"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "r", "lifetime": 0}', "lifetime: must be more than 0"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "r", "lifetime": 101}', "lifetime: must be at most 100 seconds"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "r", "wait": -1}', "wait: must be 0 or more"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "r", "wait": NaN}', "wait: must be a finite number"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "r", "holder": "%s"}' % (b"h" * 129), "holder: must have at most 128 characters"),
    (b'{"type": "release", "conversation_id": "c"}', "ticket_number: it or request_id is required"),
    (b'{"type": "release", "conversation_id": "c", "ticket_number": -1}', "ticket_number: must be 0 or more"),
    (b'{"type": "release", "conversation_id": "c", "ticket_number": "1"}', "ticket_number: must be a whole number"),
    (b'{"type": "release", "conversation_id": "c", "ticket_number": true}', "ticket_number: must be a whole number"),
    (b'{"type": "renew", "conversation_id": "c", "request_id": "r", "wait": 3}', "wait: is unknown"),
    (b'{"type": "request", "conversation_id": "c", "request_id": "r", "request_id": "s"}', "request_id: stands twice"),
]  # fmt: skip


@pytest.fixture(scope="module")
def namespace() -> str:
    """One daemon serves the whole module; tests keep apart by conversation."""
    return f"refusals{uuid.uuid4().hex[:8]}"


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def daemon(rabbitmq: RabbitMQ, redis_server: RedisServer, namespace: str) -> AsyncIterator[DaemonProcess]:
    config = shared_config(rabbitmq, redis_server, namespace)
    config["daemon"] = {"max_waiting": 3, "max_lifetime": 100, "max_wait": 100, "lifetime": 50, "wait": 50}
    async with DaemonProcess(config) as process:
        yield process


@pytest.fixture
def c() -> str:
    """Name a conversation of this test's own."""
    return f"c-{uuid.uuid4().hex[:8]}"


async def assert_still_serving(bot: Bot) -> None:
    await bot.lock(f"the next message {uuid.uuid4()}")


async def test_an_unknown_field_is_invalid_and_parked(bot: Bot, c: str) -> None:
    await bot.request(c, lifetme=3)
    answer = await bot.expect("rejected")
    assert answer["reason"] == "invalid"
    assert answer["detail"] == "lifetme: is unknown; did you mean lifetime?"
    [letter] = await dead_letters(bot, 1)
    assert letter.headers["x-error-reason"] == "invalid"
    assert letter.headers["x-error-detail"] == answer["detail"]
    assert json.loads(letter.body)["lifetme"] == 3
    await assert_still_serving(bot)


async def test_a_priority_is_refused_since_it_would_break_the_order(bot: Bot, c: str) -> None:
    def body(name: str) -> bytes:
        return json.dumps({"type": "request", "conversation_id": c, "request_id": name}).encode()

    await bot.send(body("first"), priority=1)
    await bot.send(body("last"), priority=255)
    await bot.send(body("ordinary"), priority=0)
    for name in ("first", "last"):
        answer = await bot.expect("rejected", request_id=name)
        assert (answer["reason"], answer["detail"]) == (
            "invalid",
            "priority: must be absent or 0: requests are served in order",
        )
    assert (await bot.expect("granted", request_id="ordinary"))["ticket_number"] == 1
    for letter in await dead_letters(bot, 2):
        assert letter.headers["x-error-reason"] == "invalid"


async def test_what_cannot_be_understood_is_told_why_and_parked_as_it_came(bot: Bot, subtests: pytest.Subtests) -> None:
    for body, detail in MALFORMED:
        with subtests.test(detail, body=body[:60]):
            await bot.send(body, correlation_id="mine", headers={"kept": "yes"})
            answer = await bot.expect("rejected", reason="invalid")
            assert answer["detail"].startswith(detail), answer
            assert bot.messages[-1].correlation_id == "mine"
            [letter] = await dead_letters(bot, 1)
            assert letter.body == body
            assert letter.headers["kept"] == "yes"
            assert letter.headers["x-error-reason"] == "invalid"
            await assert_still_serving(bot)


async def test_an_oversized_body_is_too_large(bot: Bot) -> None:
    body = json.dumps({"type": "request", "conversation_id": "c", "request_id": "r", "holder": "x" * 70_000}).encode()
    await bot.send(body)
    answer = await bot.expect("rejected", reason="too_large")
    assert answer["detail"] == "body: must be at most 65536 bytes"
    [letter] = await dead_letters(bot, 1)
    assert letter.body == body[:4096]
    assert letter.headers["x-body-size"] == len(body)
    await assert_still_serving(bot)


async def test_a_bad_message_without_reply_to_is_parked_and_the_next_is_served(bot: Bot) -> None:
    await bot.send(b"nonsense", reply_to=None)
    [letter] = await dead_letters(bot, 1)
    assert letter.body == b"nonsense"
    assert letter.headers["x-error-reason"] == "invalid"
    await assert_still_serving(bot)


async def test_busy_is_for_good(bot: Bot, c: str) -> None:
    await bot.lock(c)
    request_id = await bot.request(c, wait=0)
    answer = await bot.expect("rejected", reason="busy")
    assert (answer["request_id"], answer["ticket_number"]) == (request_id, None)
    await bot.request(c, request_id, wait=0)
    await bot.expect("rejected", reason="busy")


async def test_busy_with_nobody_to_tell_is_parked(bot: Bot, c: str) -> None:
    await bot.lock(c)
    body = json.dumps({"type": "request", "conversation_id": c, "request_id": "quiet", "wait": 0}).encode()
    await bot.send(body, reply_to=None)
    [letter] = await dead_letters(bot, 1)
    assert (letter.body, letter.headers["x-error-reason"]) == (body, "busy")


async def test_a_full_line(bot: Bot, c: str) -> None:
    await bot.lock(c)
    await bot.request(c)
    await bot.request(c)
    await bot.request(c, "one too many")
    answer = await bot.expect("rejected", reason="line_full")
    assert answer["request_id"] == "one too many"


@pytest.mark.parametrize("verb", ["release", "renew"])
async def test_what_is_over_is_finished(bot: Bot, c: str, verb: str) -> None:
    granted = await bot.lock(c, request_id="r")
    await bot.release(c, ticket_number=granted["ticket_number"])
    await bot.expect("released")
    for name in ({"ticket_number": granted["ticket_number"]}, {"request_id": "r"}):
        await bot.say(verb, c, **name)
        answer = await bot.expect("rejected", reason="finished")
        assert (answer["ended"], answer["ticket_number"]) == ("released", granted["ticket_number"])
    await bot.request(c, "r")
    answer = await bot.expect("rejected", reason="finished")
    assert answer["ended"] == "released"


@pytest.mark.parametrize("verb", ["release", "renew"])
async def test_what_never_was_is_an_unknown_ticket(bot: Bot, c: str, verb: str) -> None:
    await bot.say(verb, c, ticket_number=99)
    answer = await bot.expect("rejected", reason="unknown_ticket")
    assert answer["ticket_number"] == 99


async def test_a_number_and_a_request_id_must_name_the_same_ticket(bot: Bot, c: str) -> None:
    granted = await bot.lock(c)
    await bot.release(c, ticket_number=granted["ticket_number"], request_id="another")
    answer = await bot.expect("rejected", reason="invalid")
    assert answer["detail"] == "ticket_number, request_id: must name the same ticket"


async def test_another_user_is_forbidden(bot: Bot, c: str) -> None:
    body = {"type": "request", "conversation_id": c, "request_id": "r"}
    await bot.send(json.dumps(body).encode(), user_id="guest")
    granted = await bot.expect("granted")
    await bot.release(c, ticket_number=granted["ticket_number"])
    answer = await bot.expect("rejected", reason="forbidden")
    assert answer["ticket_number"] == granted["ticket_number"]
    release = {"type": "release", "conversation_id": c, "ticket_number": granted["ticket_number"]}
    await bot.send(json.dumps(release).encode(), user_id="guest")
    await bot.expect("released")


async def test_a_conversation_whose_data_is_not_ours_is_refused_alone(
    bot: Bot, namespace: str, redis_server: RedisServer
) -> None:
    import redis.asyncio as redis

    from lockstore.stores.redis.keys import ConcurrentKeys

    keys = ConcurrentKeys(namespace)
    line = keys.of_line("odd", keys.shard_of("odd"))[1]
    async with redis.Redis(host=redis_server.host, port=redis_server.port, db=1) as client:
        await client.set(line, "another program's")
    await bot.request("odd", "r")
    await bot.request("even", "s")
    answer = await bot.expect("rejected", request_id="r")
    assert answer["reason"] == "invalid"
    assert "its `line`: of another type" in answer["detail"]
    await bot.expect("granted", request_id="s")
    [letter] = await dead_letters(bot, 1)
    assert json.loads(letter.body)["request_id"] == "r"


async def test_the_wrong_partition_is_told_how_many_there_are(
    rabbitmq: RabbitMQ, redis_server: RedisServer, start_daemon: DaemonMaker, namespace: str
) -> None:
    config = shared_config(rabbitmq, redis_server, f"{namespace}two")
    config["broker"]["partitions"] = 2
    await start_daemon(config)
    async with Bot(rabbitmq.url, f"{namespace}two") as bot:
        await bot.request("wanted", "r", partition=0)
        await bot.request("wanted", "r2", partition=1)
        granted = await bot.expect("granted")
        rejected = await bot.expect("rejected", reason="wrong_partition")
        assert {granted["request_id"], rejected["request_id"]} == {"r", "r2"}
        assert rejected["partitions"] == 2


async def test_a_message_id_serves_as_request_id(bot: Bot, c: str) -> None:
    await bot.send(json.dumps({"type": "request", "conversation_id": c}).encode(), message_id="from the property")
    granted = await bot.expect("granted")
    assert granted["request_id"] == "from the property"
    assert bot.messages[-1].correlation_id == "from the property"


async def test_without_reply_to_the_public_events_speak(bot: Bot, namespace: str) -> None:
    events = await bot.channel.declare_queue(exclusive=True)
    exchange = await bot.channel.get_exchange(f"{namespace}.events")
    await events.bind(exchange, "granted.#")
    heard: list[aio_pika.abc.AbstractIncomingMessage] = []
    body = b'{"type": "request", "conversation_id": "a.b c", "request_id": "r"}'
    await bot.send(
        body, reply_to=None, headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    )
    async with events.iterator(no_ack=True) as messages:
        async for message in messages:
            heard.append(message)
            break
    assert heard[0].routing_key == "granted.a.b c"
    assert str(heard[0].headers["traceparent"]).startswith("00-0af7651916cd43dd")
    assert heard[0].type == "granted"
