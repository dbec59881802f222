"""RabbitMQ's `max_message_size` is less than a message that the daemon publishes: that one is cut, and no session ends again for it."""

import asyncio
from typing import Any

from daemon.serving.dispatcher import Outstanding
from harness import RabbitMQ
from tests.conftest import DaemonMaker
from tests.support.bot import Bot, dead_letters


async def test_a_dead_letter_that_rabbitmq_would_not_take_is_cut(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config)
    await daemon.stop()
    await bot.send(b"x" * 60_000)
    before = (await rabbitmq.ctl("eval", "application:get_env(rabbit, max_message_size, 134217728).")).strip()
    await rabbitmq.ctl("eval", "application:set_env(rabbit, max_message_size, 16384).")
    try:
        await daemon.start()
        await bot.expect("rejected", reason="invalid")
        [letter] = await dead_letters(bot, 1)
    finally:
        await rabbitmq.ctl("eval", f"application:set_env(rabbit, max_message_size, {before}).")
    assert letter.body == b"x" * 4096
    assert letter.headers["x-body-size"] == 60_000
    assert len(daemon.events("broker.lost")) == 1
    await bot.lock("next")


async def test_the_limit_is_learned_from_rabbitmqs_own_words() -> None:
    outstanding = Outstanding()
    for said, limit in (
        ("PRECONDITION_FAILED - message size 60000 is larger than configured max size 16384", 16384),
        ("PRECONDITION_FAILED - message size 900 is larger than max size 512", 512),
        ("NOT_FOUND - no exchange", 512),
    ):
        closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        closing.set_exception(ConnectionError(said))
        outstanding.note_closed(closing)
        assert outstanding.message_max == limit
