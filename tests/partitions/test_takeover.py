"""The active daemon is killed, stopped or cut off: the next one goes on in order; and it comes back without harm."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.serving.freeze_detector import FreezeDetector
from daemon.serving.sweeper import PATROL_S
from harness import DEBUG, DaemonProcess, RabbitMQ
from lockstore.errors import BrokerLostError
from lockstore.stores.results import LEFT_BEHIND_MS
from tests.conftest import DaemonMaker
from tests.partitions.frozen_wire import FrozenWire
from tests.partitions.talk import Talk
from tests.support.bot import Bot

HEARTBEAT_S = 2
PATIENCE_S = 40
NAMES = [f"c{place}" for place in range(12)]


async def served_by(daemon: DaemonProcess, what: str = "batch.served", more_than: int = 0) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(daemon.events(what)) <= more_than:
            await asyncio.sleep(0.05)


async def taken_over(
    talk: Talk, first: DaemonProcess, second: DaemonProcess, hurt: Callable[[], Awaitable[None] | None]
) -> None:
    """Hurt the active daemon under load, and wait until the other one serves."""
    flow = asyncio.create_task(talk.flow(NAMES, rate=100))
    await served_by(first, more_than=20)
    assert not second.events("batch.served")
    began = time.monotonic()
    hurting = hurt()
    if hurting is not None:
        await hurting
    await served_by(second)
    print(f"taken over after {time.monotonic() - began:.1f} s")
    await asyncio.sleep(1)
    talk.hush()
    await flow


async def test_killed_the_next_one_takes_over_at_once(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    config["broker"]["heartbeat"] = 600  # the socket's end tells, no heartbeat
    first, second = await start_daemon(config, argv=DEBUG), await start_daemon(config, argv=DEBUG)

    async def kill() -> None:
        await first.kill()

    async with Talk(bot, 1) as talk:
        await taken_over(talk, first, second, kill)
        await talk.until_over()
        talk.check()


@pytest.mark.slow
async def test_stopped_in_its_tracks_the_next_one_takes_over_after_some_heartbeats(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    config["broker"]["heartbeat"] = HEARTBEAT_S
    first, second = await start_daemon(config, argv=DEBUG), await start_daemon(config, argv=DEBUG)
    async with Talk(bot, 1) as talk:
        await taken_over(talk, first, second, first.pause)
        first.resume()
        await served_by(first, "daemon.ready", more_than=1)  # it has come back, and stands by
        await talk.until_over()
        talk.check()
    assert first.running


@pytest.mark.slow
async def test_cut_off_the_next_one_takes_over_and_the_first_one_comes_back(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    config["broker"]["heartbeat"] = HEARTBEAT_S
    async with FrozenWire(rabbitmq) as wire:
        first = await start_daemon(config | {"broker": config["broker"] | {"url": wire.url}}, argv=DEBUG)
        second = await start_daemon(config, argv=DEBUG)
        async with Talk(bot, 1) as talk:
            await taken_over(talk, first, second, wire.freeze)
            await served_by(first, "broker.lost")  # it has noticed by itself
            wire.thaw()
            await served_by(first, "daemon.ready", more_than=1)
            await talk.until_over()
            talk.check()


@pytest.mark.slow
async def test_a_daemon_that_was_away_applies_nothing_of_what_it_had_in_memory(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    """The requests that it holds are over, and no longer remembered: applied now, they would get second tickets."""
    config["broker"] |= {"heartbeat": 1, "prefetch": 50}  # a batch is a fifth of that
    config["daemon"]["dedup_window"] = 1.5
    flag = tmp_path / "flag"
    dozing = await start_daemon(config, module="tests.partitions.dozing_daemon", argv=(str(flag),))
    async with Talk(bot, 1) as talk:
        flag.touch()
        names = [f"c{place}" for place in range(50)]
        await asyncio.gather(*map(talk.ask, names))
        async with asyncio.timeout(PATIENCE_S):
            while flag.exists():
                await asyncio.sleep(0.02)
        await start_daemon(config)
        await talk.until_over()
        await asyncio.sleep(2)
        for name in names:  # the first ones are forgotten by now; those who come next sweep them out
            await talk.ask(name)
        await talk.until_over()
        dozing.resume()
        await served_by(dozing, "daemon.ready", more_than=1)
        # What was applied without being told would be found in the outbox.
        await asyncio.sleep(LEFT_BEHIND_MS / 1000 + 2 * PATROL_S)
        talk.check()
    lost = dozing.events("broker.lost")
    assert any("was frozen for" in line["error"] for line in lost), lost


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_gap_is_noticed_once_and_then_always_until_a_new_beginning() -> None:
    clock = Clock()
    vigil = FreezeDetector(2.0, clock)
    for _ in range(5):
        clock.now += 1.9
        vigil.check()
    clock.now += 2.1
    for _ in range(2):
        with pytest.raises(BrokerLostError, match=r"frozen for 2\.1 s"):
            vigil.check()
    vigil.begin()
    vigil.check()


async def test_the_ticker_keeps_a_process_that_is_there_from_seeming_away() -> None:
    vigil = FreezeDetector(0.5)
    ticking = asyncio.create_task(vigil.run())
    await asyncio.sleep(1.2)
    vigil.check()
    vigil._clock = lambda: float("inf")
    with pytest.raises(BrokerLostError):
        await ticking
