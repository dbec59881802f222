"""Real daemons share busy partitions, and order is kept while partitions change hands under load."""

import asyncio
from typing import Any

import pytest

from daemon.cluster.fair_share import SETTLE_S
from harness import RabbitMQ
from tests.conftest import DaemonMaker
from tests.partitions.overheard import Overheard, moves
from tests.partitions.talk import Talk, conversations
from tests.support.bot import Bot

PARTITIONS = 8


@pytest.mark.slow
async def test_daemons_that_come_and_go_share_the_load_and_order_is_kept(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str
) -> None:
    config["broker"]["partitions"] = PARTITIONS
    first = await start_daemon(config)
    async with Overheard(rabbitmq.url, namespace) as overheard, Talk(bot, PARTITIONS) as talk:
        flow = asyncio.create_task(talk.flow(conversations(PARTITIONS, each=3), rate=120))
        second = await start_daemon(config)
        await overheard.until_fair(PARTITIONS, first, second)
        third, fourth = await start_daemon(config), await start_daemon(config)
        everyone = (first, second, third, fourth)
        await overheard.until_fair(PARTITIONS, *everyone)
        assert first.events("partition.passed_on")
        await second.stop()
        await overheard.until_fair(PARTITIONS, first, third, fourth)
        await first.kill()
        await overheard.until_fair(PARTITIONS, third, fourth)
        talk.hush()
        await flow
        await talk.until_over()
        talk.check()
        # The least that it takes: 4, then 4 again; then what two daemons leave. Detours cost some more.
        assert moves(*everyone) <= 4 * PARTITIONS, moves(*everyone)


async def test_few_busy_partitions_are_shared_too(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str
) -> None:
    config["broker"]["partitions"] = PARTITIONS
    daemons = [await start_daemon(config) for _ in range(3)]
    async with Overheard(rabbitmq.url, namespace) as overheard, Talk(bot, PARTITIONS) as talk:
        flow = asyncio.create_task(talk.flow(conversations(PARTITIONS, each=2, only=range(2, 4)), rate=40))
        await overheard.until_fair(2, *daemons)
        talk.hush()
        await flow
        await talk.until_over()
        talk.check()


async def test_with_balance_off_nobody_steps_back(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str
) -> None:
    config["broker"] |= {"partitions": 2, "balance": False}
    first, second = await start_daemon(config), await start_daemon(config)
    async with Overheard(rabbitmq.url, namespace) as overheard, Talk(bot, 2) as talk:
        flow = asyncio.create_task(talk.flow(conversations(2, each=1), rate=30))
        async with asyncio.timeout(30):
            while overheard.counts(first, second) != [2, 0]:
                await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)
        assert overheard.counts(first, second) == [2, 0]
        talk.hush()
        await flow
        await talk.until_over()
        talk.check()
