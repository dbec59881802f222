"""The daemon on a store of the user's own."""

import asyncio
from pathlib import Path
from typing import Any

from tests.conftest import DaemonMaker
from tests.support.bot import Bot, dead_letters


async def test_what_a_custom_store_raises_is_tried_again_and_one_bad_conversation_is_parked(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    trouble = tmp_path / "trouble"
    config["lock_store"] = {"type": "tests.support.moody_store.MoodyStore", "trouble": str(trouble)}
    daemon = await start_daemon(config)
    granted = await bot.lock("c")
    trouble.touch()
    await bot.request("c", "patient")
    async with asyncio.timeout(20):
        while not daemon.events("store.unavailable"):
            await asyncio.sleep(0.02)
    trouble.unlink()
    await bot.expect("queued", request_id="patient")
    await bot.request("damaged", "r")
    await bot.release("c", ticket_number=granted["ticket_number"])
    assert (await bot.expect("rejected", request_id="r"))["detail"].endswith("its row is damaged")
    [letter] = await dead_letters(bot, 1)
    assert letter.headers["x-error-reason"] == "invalid"
    await bot.expect("granted", request_id="patient")
