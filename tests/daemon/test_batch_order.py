"""Replies to one batch: grants go first, and the replies of one ticket stay in order."""

from typing import Any

from tests.conftest import DaemonMaker
from tests.support.bot import Bot

ROUNDS = 30


async def test_a_ticket_that_is_queued_and_granted_in_one_batch_hears_it_in_that_order(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config)
    await daemon.stop()
    for place in range(ROUNDS):  # they wait in the queue, and are taken together
        await bot.request(f"c{place}", f"first-{place}", wait=60)
        await bot.request(f"c{place}", f"second-{place}", wait=60)
        await bot.release(f"c{place}", request_id=f"first-{place}")
    await start_daemon(config)
    for place in range(ROUNDS):
        await bot.expect("granted", request_id=f"second-{place}")
        await bot.expect("released", request_id=f"first-{place}")
    for place in range(ROUNDS):
        heard = {
            name: [answer["type"] for answer in bot.answers if answer["request_id"] == f"{name}-{place}"]
            for name in ("first", "second")
        }
        assert heard == {"first": ["granted", "released"], "second": ["queued", "granted"]}
