"""The page of real daemons, on RabbitMQ and Redis, in a real Chromium."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from harness import DaemonProcess, RabbitMQ, RedisServer
from harness.ports import LOOPBACK
from tests.conftest import shared_config
from tests.support.bot import Bot
from tests.support.browser import visiting

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def daemons(rabbitmq: RabbitMQ, redis_server: RedisServer) -> AsyncIterator[list[DaemonProcess]]:
    """Start two daemons on one partition: the first is active, the second stands by."""
    config = shared_config(rabbitmq, redis_server, f"t{uuid.uuid4().hex[:12]}")
    config["daemon"]["http"] = f"{LOOPBACK}:0"
    both = [DaemonProcess(config), DaemonProcess(config)]
    try:
        for daemon in both:
            await daemon.start()
        yield both
    finally:
        for daemon in both:
            await daemon.close()


@pytest_asyncio.fixture(loop_scope="session")
async def bot(rabbitmq: RabbitMQ, daemons: list[DaemonProcess]) -> AsyncIterator[Bot]:
    async with Bot(rabbitmq.url, daemons[0].config["broker"]["namespace"]) as connected:
        yield connected


async def told(daemon: DaemonProcess, place: str) -> Any:
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}api/v1/{place}") as answer:
        assert answer.status == 200
        return await answer.json()


async def test_a_new_request_is_seen_on_an_open_page(daemons: list[DaemonProcess], bot: Bot, browser: Browser) -> None:
    async with visiting(browser, daemons[1].http_url) as here:
        await here.go()
        await expect(here.page.get_by_text("Ready", exact=True)).to_be_visible()
        await bot.lock("seen", holder="bot <7>")
        await bot.request("seen", holder="bot 8")
        row = here.page.get_by_role("row", name="seen")
        await expect(row).to_contain_text("bot <7>", timeout=PATIENCE_S * 1000)
        await expect(row.get_by_role("cell").nth(4)).to_have_text("1", timeout=PATIENCE_S * 1000)
        await row.get_by_role("link").click()
        await expect(here.page.get_by_text("Held by bot <7>")).to_be_visible()
        await bot.release("seen", ticket_number=1)
        await expect(here.page.get_by_text("Held by bot 8 with ticket 2")).to_be_visible(timeout=PATIENCE_S * 1000)
        history = here.page.get_by_role("table", name="The last events")
        await expect(history.get_by_role("row")).to_contain_text(["Event", "granted", "released", "queued", "granted"])


async def test_each_daemon_tells_what_all_of_them_did(daemons: list[DaemonProcess], bot: Bot) -> None:
    for number in range(20):
        await bot.request("busy", f"r{number}")
    for number in range(20):
        grant = await bot.expect("granted", request_id=f"r{number}")
        await bot.release("busy", ticket_number=grant["ticket_number"])

    async def recorded(daemon: DaemonProcess) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status: dict[str, Any] = await told(daemon, "status")
                minutes = status["minutes"]
                if sum(rate or 0 for rate in minutes["releases_per_s"]) * minutes["step_s"] >= 19.9:
                    return status
                await asyncio.sleep(0.1)

    for daemon in daemons:
        status = await recorded(daemon)
        minutes = status["minutes"]
        assert sum(rate or 0 for rate in minutes["requests_per_s"]) * minutes["step_s"] >= 19.9
        assert sum(rate or 0 for rate in minutes["grants_per_s"]) * minutes["step_s"] >= 19.9
        assert any(took is not None and took > 0 for took in minutes["hand_off_p99_ms"])
        assert [known["pid"] for known in status["daemons"]] == [one.pid for one in daemons]
        assert [known["pid"] for known in status["daemons"] if known["is_this"]] == [daemon.pid]
        assert [list(known["partitions"]) for known in status["daemons"]] == [["0"], []]
        assert (status["ready"], status["partitions_without_messages"]) == (True, [])


async def test_a_conversation_of_any_name_goes_all_the_way(daemons: list[DaemonProcess], bot: Bot) -> None:
    for name, place in (("a/b", "?id=a%2Fb"), ("..", "?id=.."), ("👩 ü", "%F0%9F%91%A9%20%C3%BC")):
        await bot.lock(name, holder=name)
        conversation = await told(daemons[0], f"conversations/{place}")
        assert conversation["conversation_id"] == name
        assert [(ticket["state"], ticket["holder"]) for ticket in conversation["tickets"]] == [("holds", name)]
        found = await told(daemons[0], f"find?text={place.rpartition('=')[2]}")
        assert name in [line["conversation_id"] for line in found["lines"]]
