"""An operator's process takes a lease away: the daemon tells everybody, and the next in line goes on, at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from daemon.serving.sweeper import PATROL_S
from harness import RabbitMQ
from lockstore.client import LockClient
from lockstore.core.events import Cancelled, Released
from lockstore.core.rules import Limits
from lockstore.errors import LockLostError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from tests.conftest import DaemonMaker
from tests.support.bot import Bot
from tests.support.public import Public

BY = "anna@ops"


@asynccontextmanager
async def operators(section: dict[str, Any]) -> AsyncIterator[LockStore]:
    """Open the daemon's store in this process."""
    store = create_store(section, Limits())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize("kind", ["redis", "concurrent_redis"])
async def test_what_an_operator_takes_is_told_to_all_without_waiting_for_a_patrol(
    kind: str, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, rabbitmq: RabbitMQ, namespace: str
) -> None:
    config["lock_store"]["type"] = kind
    await start_daemon(config)
    took_s: list[float] = []
    async with operators(config["lock_store"]) as store, Public(rabbitmq.url, namespace) as public:
        numbers = [(await bot.lock("c", request_id="r0", lifetime=60))["ticket_number"]]
        for turn in range(1, 6):
            await bot.request("c", f"r{turn}", lifetime=60, wait=60)
            numbers.append((await bot.expect("queued", request_id=f"r{turn}"))["ticket_number"])
            taken_at = time.monotonic()
            taken = await store.force_release("c", BY)
            await bot.expect("granted", request_id=f"r{turn}")
            took_s.append(time.monotonic() - taken_at)
            assert isinstance(taken, Released)
            told = await bot.expect("released", request_id=f"r{turn - 1}")
            assert (told["ticket_number"], told["reason"], told["by"]) == (numbers[-2], "forced", BY)
        await bot.request("c", "waiting", lifetime=60, wait=60)
        waiting = await bot.expect("queued", request_id="waiting")
        assert isinstance(await store.force_release("c", BY, waiting["ticket_number"]), Cancelled)
        cancelled = await bot.expect("cancelled", request_id="waiting")
        assert (cancelled["reason"], cancelled["by"]) == ("forced", BY)
        assert await store.force_release("c", BY, waiting["ticket_number"]) is None
        await public.until_ended({"waiting", *(f"r{turn}" for turn in range(5))})
        assert [event["by"] for event in (*public.of("released"), *public.of("cancelled"))] == [BY] * 6
    print(f"{kind}: from seizing to the next grant: {', '.join(f'{s * 1000:.1f}' for s in took_s)} ms")
    assert sorted(took_s)[len(took_s) // 2] < PATROL_S / 4


async def test_the_body_of_a_lock_that_was_taken_is_stopped_and_learns_by_whom(
    config: dict[str, Any], start_daemon: DaemonMaker, rabbitmq: RabbitMQ, namespace: str
) -> None:
    await start_daemon(config)
    async with operators(config["lock_store"]) as store, LockClient(rabbitmq.url, namespace=namespace) as locks:
        with pytest.raises(LockLostError, match=f"released .forced by {BY}"):
            async with locks.lock("c", wait=10, lifetime=60):
                assert await store.force_release("c", BY) is not None
                await asyncio.sleep(20)
                pytest.fail("the body went on")
