"""A pipeline that stands still, though the event loop turns, and store and broker answer: no more food for the watchdog."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from lockstore.protocol.naming import partition_of
from tests.conftest import DaemonMaker
from tests.notify.stalling_daemon import STUCK
from tests.support.bot import Bot
from tests.support.manager import Manager

OTHER = "goes-on"
WATCHDOG_S = 0.6


async def test_a_stalled_partition_starves_the_watchdog_and_fails_livez_while_another_goes_on(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    config["broker"]["partitions"] = 2
    config["daemon"]["http"] = "127.0.0.1:0"
    stuck, other = partition_of(STUCK, 2), partition_of(OTHER, 2)
    assert stuck != other
    async with Manager(str(tmp_path / "notify")) as manager, aiohttp.ClientSession() as client:
        env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6))}
        daemon = await start_daemon(config, module="tests.notify.stalling_daemon", env=env)
        await manager.hears("READY=1")
        await manager.until(lambda said: said.count("WATCHDOG=1") >= 3)
        async with client.get(f"{daemon.http_url}livez") as answer:
            assert answer.status == 200

        await bot.say("request", STUCK, partition=stuck, request_id="r")
        await manager.hears(f"STATUS=pipeline_stalled: partition {stuck}")
        fed = manager.count("WATCHDOG=1")
        await asyncio.sleep(3 * WATCHDOG_S)
        assert manager.count("WATCHDOG=1") == fed, "a stalled daemon fed its watchdog"
        async with client.get(f"{daemon.http_url}livez") as answer:
            (reason,) = (await answer.json())["reasons"]
            assert (answer.status, reason["reason"]) == (503, "pipeline_stalled")
            assert f"partition {stuck}" in reason["detail"]
            assert "1 waiting" in reason["detail"]
        await bot.say(
            "request", OTHER, partition=other, request_id="s"
        )  # the loop turns, and the other partition serves
        await bot.expect("granted", conversation_id=OTHER)
        assert daemon.events("pipeline.stalled")
        await daemon.kill()
