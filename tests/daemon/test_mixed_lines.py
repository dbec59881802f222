"""Tickets that a bot issued directly and tickets of the daemon's, in one line."""

import asyncio
import time
from typing import Any

import pytest

from daemon.serving.sweeper import PATROL_S
from lockstore.core.rules import Limits
from lockstore.factory import create_store
from lockstore.stores.maybe_async import call_maybe_async
from tests.conftest import DaemonMaker
from tests.support.bot import Bot


@pytest.mark.parametrize("kind", ["redis", "concurrent_redis"])
async def test_the_turn_passes_between_both_kinds_without_waiting_for_a_patrol(
    kind: str, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    config["lock_store"]["type"] = kind
    await start_daemon(config)
    store = create_store(config["lock_store"], Limits())
    await store.open()
    took_s: list[float] = []
    for turn in range(5):
        async with store.lock("c", 60):
            await bot.request("c", f"r{turn}", wait=60)
            await bot.expect("queued", request_id=f"r{turn}")
        left = time.monotonic()
        granted = await bot.expect("granted", request_id=f"r{turn}")
        took_s.append(time.monotonic() - left)

        async def directly() -> None:
            async with store.lock("c", 60):
                pass

        waiting = asyncio.create_task(directly())
        while not (line := await call_maybe_async(store.get_lock, "c")) or len(line.tickets) < 2:
            await asyncio.sleep(0.01)
        left = time.monotonic()
        await bot.release("c", ticket_number=granted["ticket_number"])
        await waiting
        took_s.append(time.monotonic() - left)
    await store.close()
    print(f"{kind}: hand-over between both kinds: {', '.join(f'{s * 1000:.1f}' for s in took_s)} ms")
    assert sorted(took_s)[len(took_s) // 2] < PATROL_S / 4
