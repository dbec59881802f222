"""SIGKILL at each point between the steps: every request still ends as promised, with one ticket per request id."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness import DaemonProcess, RabbitMQ
from tests.conftest import DaemonMaker
from tests.support.bot import Bot
from tests.support.public import Public

REQUESTS, CONVERSATIONS = 40, 4


async def died(daemon: DaemonProcess) -> None:
    async with asyncio.timeout(20):
        while daemon.running:
            await asyncio.sleep(0.01)
    assert daemon.exit_code == -9


async def release_each(bot: Bot, requests: dict[str, str]) -> None:
    """Release every ticket as it is granted; a grant heard twice is released once."""
    open_requests = set(requests)
    while open_requests:
        granted = await bot.expect("granted")
        request_id = granted["request_id"]
        if request_id in open_requests:
            open_requests.discard(request_id)
            await bot.release(requests[request_id], ticket_number=granted["ticket_number"])


@pytest.mark.parametrize("point", ["stored", "announced", "acknowledged"])
async def test_killed_in_the_pipeline(
    point: str,
    rabbitmq: RabbitMQ,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    bot: Bot,
    namespace: str,
    tmp_path: Path,
) -> None:
    flag = tmp_path / "flag"
    daemon = await start_daemon(config, module="tests.support.failing_daemon", argv=(point, str(flag)))
    async with Public(rabbitmq.url, namespace) as public:
        flag.touch()
        requests = {f"r{place}": f"c{place % CONVERSATIONS}" for place in range(REQUESTS)}
        for request_id, conversation in requests.items():
            await bot.request(conversation, request_id, wait=60, lifetime=60)
        await died(daemon)
        await daemon.start()
        await release_each(bot, requests)
        await public.until_ended(set(requests))
        public.check()
        assert {event["request_id"] for event in public.of("released")} == set(requests)
        for conversation in set(requests.values()):
            mine = [event for event in public.of("released") if event["conversation_id"] == conversation]
            mine.sort(key=lambda event: event["ticket_number"])
            published = [request_id for request_id, its in requests.items() if its == conversation]
            assert [event["request_id"] for event in mine] == published, "numbers are not in the order of publishing"


@pytest.mark.parametrize("kind", ["concurrent_redis", "redis"])
async def test_killed_in_the_middle_of_a_sweep(
    kind: str,
    rabbitmq: RabbitMQ,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    bot: Bot,
    namespace: str,
    tmp_path: Path,
) -> None:
    config["lock_store"]["type"] = kind
    flag = tmp_path / "flag"
    daemon = await start_daemon(config, module="tests.support.failing_daemon", argv=("swept", str(flag)))
    async with Public(rabbitmq.url, namespace) as public:
        await bot.request("c", "holder", lifetime=0.3)
        await bot.request("c", "waiter", lifetime=60)
        await bot.expect("granted", request_id="holder")
        await bot.expect("queued", request_id="waiter")
        flag.touch()
        await died(daemon)  # the expiry and the next grant are stored, and nobody was told
        assert not [event for event in bot.answers if event["type"] == "expired"]
        await daemon.start()
        await bot.expect("expired", request_id="holder")
        granted = await bot.expect("granted", request_id="waiter")
        await bot.release("c", ticket_number=granted["ticket_number"])
        await public.until_ended({"holder", "waiter"})
        public.check()


async def test_a_request_killed_unstored_is_served_after_the_restart(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config)
    await daemon.kill()
    await bot.request("c", "asked while nobody was there")
    await daemon.start()
    await bot.expect("granted", request_id="asked while nobody was there")
