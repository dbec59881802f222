"""A real Prometheus scrapes a real daemon under load: every metric is there, every query of alerts and dashboard finds data."""

import asyncio
import math
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from daemon.http.metrics.catalog import CATALOG
from harness import DaemonProcess, RabbitMQ, RedisServer
from harness.prometheus import Prometheus
from tests.conftest import shared_config
from tests.metrics.test_configs import ALERTS, promtool, rules, shown
from tests.support.bot import Bot

pytestmark = pytest.mark.asyncio(loop_scope="module")  # so that the load goes on while the tests look

PATIENCE_S = 30.0
SELECTOR = re.compile(r"\b(?:lockstore_\w+|up\b)(?:\{[^}]*\})?")


async def keep_busy(bot: Bot) -> None:
    """Do a bit of everything that is counted, again and again, beside one line that does not move."""
    await bot.lock("stuck", lifetime=300)
    await bot.request("stuck", wait=300)
    for number in range(100_000):
        line = f"line-{number % 5}"
        first = await bot.lock(line, lifetime=30)
        await bot.request(line, f"second-{number}", wait=30)
        await bot.say("renew", line, ticket_number=first["ticket_number"])
        await bot.request(line, wait=0)  # busy
        await asyncio.sleep(0.01)
        await bot.release(line, ticket_number=first["ticket_number"])
        second = await bot.expect("granted", request_id=f"second-{number}")
        await bot.release(line, ticket_number=second["ticket_number"])
        if number % 10 == 0:
            await bot.request("left-alone", lifetime=0.05)
            await bot.send(b"nonsense")


@dataclass
class Scraped:
    """A daemon under load, and the Prometheus that watches it."""

    daemon: DaemonProcess
    prometheus: Prometheus


@asynccontextmanager
async def busy(url: str, namespace: str) -> AsyncIterator[None]:
    async with Bot(url, namespace) as bot:
        working = asyncio.create_task(keep_busy(bot))
        yield
        assert not working.done(), "the load ended before the test did"
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped(rabbitmq: RabbitMQ, redis_server: RedisServer) -> AsyncIterator[Scraped]:
    namespace = f"t{uuid.uuid4().hex[:12]}"
    config = shared_config(rabbitmq, redis_server, namespace)
    config["daemon"]["http"] = "127.0.0.1:0"
    async with DaemonProcess(config) as daemon, busy(rabbitmq.url, namespace):
        target = urlsplit(daemon.http_url).netloc
        async with Prometheus([target], rules=[ALERTS]) as prometheus:
            yield Scraped(daemon, prometheus)


async def scrape(daemon: DaemonProcess) -> str:
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.http_url}metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return await answer.text()


async def finds_data(prometheus: Prometheus, expression: str) -> bool:
    found = await prometheus.query(expression)
    return any(not math.isnan(float(series["value"][1])) for series in found)


async def until_all_find_data(prometheus: Prometheus, expressions: Sequence[str]) -> None:
    missing = list(expressions)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while missing := [text for text in missing if not await finds_data(prometheus, text)]:
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError("no data:\n" + "\n".join(missing)) from None


async def test_a_scrape_has_every_metric_and_no_other(scraped: Scraped) -> None:
    text = await scrape(scraped.daemon)
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE lockstore_")}
    assert told == set(CATALOG)
    assert "left-alone" not in text  # no conversation is a label


async def test_promtool_finds_nothing_to_complain_of(scraped: Scraped) -> None:
    verdict = await asyncio.to_thread(promtool, "check", "metrics", given=await scrape(scraped.daemon))
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


async def test_every_query_of_the_dashboard_finds_data(scraped: Scraped) -> None:
    await until_all_find_data(scraped.prometheus, shown())


async def test_a_line_that_does_not_move_is_seen(scraped: Scraped) -> None:
    seen = "max(lockstore_tickets_waiting) >= 1 and max(lockstore_oldest_wait_seconds) > 0 and min(lockstore_survey_complete) == 1"
    await until_all_find_data(scraped.prometheus, [seen])


async def test_every_series_that_an_alert_looks_at_is_there(scraped: Scraped) -> None:
    looked_at = {selector for rule in rules() for selector in SELECTOR.findall(rule["expr"])}
    assert len(looked_at) >= len(rules())
    await until_all_find_data(scraped.prometheus, [f"count({selector})" for selector in looked_at])


async def test_the_rules_are_in_order_and_only_the_one_fires_that_has_a_reason(scraped: Scraped) -> None:
    async def evaluated() -> list[dict[str, Any]]:
        (group,) = (await scraped.prometheus.ask("rules"))["groups"]
        return [rule for rule in group["rules"] if rule["health"] != "unknown"]

    async def firing() -> list[str]:
        return [rule["name"] for rule in await evaluated() if rule["state"] == "firing"]

    async with asyncio.timeout(PATIENCE_S):
        while len(told := await evaluated()) < len(rules()) or not await firing():
            await asyncio.sleep(0.2)
    assert {rule["health"] for rule in told} == {"ok"}
    assert await firing() == ["LockstoreDeadLetters"]  # of the nonsense
