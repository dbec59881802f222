"""A fault in decoding that nobody thought of: the message is parked, the daemon lives, and innocent messages pay next to nothing."""

import asyncio
import json
import struct
import time
from typing import Any

import aio_pika
import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.monitoring.batch_report import BatchReport
from daemon.serving.isolation import Isolation
from harness import DaemonProcess, RabbitMQ
from lockstore.amqp.message_identity import delivery_count, identity_of
from tests.conftest import DaemonMaker
from tests.support.bot import PATIENCE_S, Bot, dead_letters
from tests.support.hostile_properties import UNREADABLE
from tests.support.marker import FAULT, MARKER
from tests.support.raw_publisher import APP_ID, HEADERS, RawPublisher, field, long, short

MODULE = "tests.support.undecodable_daemon"
DELIVERY_LIMIT = 3  # what ends connections is delivered four times, were it not refused before


async def start(start_daemon: DaemonMaker, config: dict[str, Any], fault: str) -> DaemonProcess:
    config["broker"] |= {"delivery_limit": DELIVERY_LIMIT}
    config["daemon"] |= {"http": "127.0.0.1:0"}
    return await start_daemon(config, module=MODULE, env={FAULT: fault})


async def send_marked(bot: Bot, **properties: Any) -> None:
    body = json.dumps({"type": "request", "conversation_id": "marked", "request_id": "marked"}).encode()
    await bot.send(body, app_id=MARKER, headers={"kept": "yes"}, **properties)


async def send_among_innocents(bot: Bot, before: int, culprits: int, behind: int) -> list[str]:
    """Publish requests of one conversation, with the marked ones among them; give the innocent ones, in order."""
    for place in range(before + behind):
        if place == before:
            for _ in range(culprits):
                await send_marked(bot)
        await bot.request("talk", f"r{place:03}", wait=PATIENCE_S * 10)
    return [f"r{place:03}" for place in range(before + behind)]


async def numbers(bot: Bot, wanted: list[str]) -> list[int]:
    """Wait until each request has its first answer, and give their tickets' numbers."""
    async with asyncio.timeout(PATIENCE_S * 3):
        while True:
            told = {item["request_id"]: item["ticket_number"] for item in bot.answers if item["type"] != "rejected"}
            if set(wanted) <= told.keys():
                return [told[name] for name in wanted]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("fault", ["header", "decode"])
async def test_a_fault_over_a_content_header_parks_that_message_and_the_connection_lives(
    fault: str, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start(start_daemon, config, fault)
    await send_marked(bot)
    wanted = await send_among_innocents(bot, 5, 1, 5)
    assert await numbers(bot, wanted) == list(range(1, 11))
    for letter in await dead_letters(bot, 2):
        assert letter.headers["x-error-detail"] == "properties: cannot be read"
        assert json.loads(letter.body)["request_id"] == "marked"
    assert daemon.events("broker.lost") == []
    assert len(daemon.events("daemon.ready")) == 1


async def test_a_fault_over_a_deliverys_method_costs_it_its_routing_key_only(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start(start_daemon, config, "method")
    queue = await bot.channel.get_queue(f"{bot.namespace}.requests.0", ensure=False)
    exchange = await bot.channel.declare_exchange(f"{bot.namespace}.everything", "fanout", auto_delete=True)
    await queue.bind(exchange)
    body = json.dumps({"type": "request", "conversation_id": "c", "request_id": "r"}).encode()
    await exchange.publish(aio_pika.Message(body, reply_to=bot.reply_to), routing_key=MARKER)
    await bot.expect("granted", request_id="r")
    await bot.lock("next")
    assert daemon.events("broker.lost") == []


@pytest.mark.parametrize(("fault", "culprits"), [("reader", 2), ("channel", 1)])
async def test_what_ends_a_connection_is_taken_alone_and_refused_and_all_others_are_served_in_order(
    fault: str,
    culprits: int,
    rabbitmq: RabbitMQ,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    bot: Bot,
) -> None:
    daemon = await start(start_daemon, config, fault)
    await daemon.stop()  # so that all are delivered together
    wanted = await send_among_innocents(bot, 20, culprits, 40)
    async with RawPublisher(rabbitmq.url) as publisher:
        for properties, _ in UNREADABLE.values():  # what is readable enough harms nobody either
            await publisher.publish(f"{bot.namespace}.requests", b"0", b"unreadable", properties)
    began = time.perf_counter()
    await daemon.start()
    pid = daemon.process.pid
    assert await numbers(bot, wanted) == list(range(1, 61))
    print(f"60 requests served {time.perf_counter() - began:.1f} s after the start")
    letters = await dead_letters(bot, culprits + len(UNREADABLE))
    refused = [letter for letter in letters if letter.body != b"unreadable"]
    assert len(refused) == culprits
    for letter in refused:
        assert json.loads(letter.body)["request_id"] == "marked"
        assert letter.headers["kept"] == "yes"
        deaths: Any = letter.headers["x-death"]
        print(deaths)
        assert "rejected" in [death["reason"] for death in deaths]
    ends = len(daemon.events("broker.lost"))
    print(f"{ends} connections ended; {len(daemon.events('message.refused_unread'))} messages refused")
    assert len(daemon.events("message.refused_unread")) == culprits
    assert ends <= 3 * culprits
    assert daemon.process.pid == pid
    async with asyncio.timeout(PATIENCE_S):
        while not daemon.events("partition.together"):
            await asyncio.sleep(0.05)
    await bot.lock("another")
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}metrics") as answer:
        assert f'lockstore_dead_letters_total{{reason="unreadable"}} {culprits}.0' in await answer.text()
    assert not await bot_has_dead_letters(bot)


async def bot_has_dead_letters(bot: Bot) -> bool:
    queue = await bot.channel.get_queue(f"{bot.namespace}.dead-letters", ensure=False)
    return await queue.get(no_ack=True, fail=False) is not None


def served(partition: int | None, messages: int) -> BatchReport:
    return BatchReport(
        partition=partition, messages=messages, requests=0, notices=[], store_ms=0.0, took_ms=0.0, taken_ns=0
    )


def header(count: int | None, app_id: bytes = b"x") -> bytes:
    """Write a content header as RabbitMQ does: with the number of earlier deliveries, if there were any."""
    table = b"" if count is None else field(b"x-delivery-count", b"l", struct.pack(">q", count))
    flags = APP_ID | (HEADERS if table else 0)
    return struct.pack(">HHQH", 60, 0, 3, flags) + (long(table) if table else b"") + short(app_id)


def test_a_message_is_refused_when_it_has_ended_two_connections_wherever_it_stands() -> None:
    isolation = Isolation()
    isolation.ended(3, 500, header(None))
    assert isolation.is_isolated(3)
    assert not isolation.is_isolated(0)
    assert not isolation.is_unwanted(3, header(1))
    isolation.ended(3, 500, header(1, b"another"))
    assert not isolation.is_unwanted(3, header(1))
    isolation.ended(3, 500, header(1))
    assert isolation.is_unwanted(3, header(2))
    assert not isolation.is_unwanted(3, header(2, b"another"))
    assert not isolation.is_unwanted(0, header(2))


def test_a_message_with_the_same_header_that_did_no_harm_is_not_refused() -> None:
    isolation = Isolation()
    for count in (None, 1, 2):
        isolation.ended(0, 500, header(count))
    assert not isolation.is_unwanted(0, header(1))


def test_messages_are_taken_together_again_when_all_that_were_on_the_way_are_done_with() -> None:
    isolation = Isolation()
    isolation.ended(0, 3, b"")
    isolation.served(served(None, 5))
    isolation.served(served(1, 5))
    for _ in range(2):
        isolation.served(served(0, 1))
        assert isolation.is_isolated(0)
    isolation.served(served(0, 1))
    assert not isolation.is_isolated(0)


@given(st.binary(max_size=64))
def test_any_bytes_have_an_identity(data: bytes) -> None:
    assert identity_of(data) == identity_of(data)
    assert delivery_count(data) >= 0
