"""What docs/protocol.md says of repeated requests, leases and properties is what a running daemon does."""

import asyncio
import json
import re
from typing import Any

from harness import RabbitMQ
from lockstore.protocol.naming import partition_of
from tests.conftest import DaemonMaker
from tests.docs.pages import CHECKOUT
from tests.support.bot import Bot, dead_letters

PROTOCOL = (CHECKOUT / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_the_worked_number_of_a_lease_is_right() -> None:
    found = re.search(r"([\d.]+) \+ ([\d.]+) \+ \(([\d.]+) - ([\d.]+)\) = ([\d.]+)\.", PROTOCOL)
    assert found is not None
    sent, waited, expires_at, at, end = map(float, found.groups())
    assert round(sent + waited + (expires_at - at), 3) == end
    grants = [json.loads(line.split("<-")[1]) for line in PROTOCOL.splitlines() if '<- {"type":"granted"' in line]
    assert (waited, expires_at, at) in [(grant["waited"], grant["expires_at"], grant["at"]) for grant in grants]


async def test_an_answer_told_again_has_a_new_time_and_the_same_end_and_message_id(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, rabbitmq: RabbitMQ, namespace: str
) -> None:
    await start_daemon(config)
    first = await bot.lock("talk", lifetime=600)
    mine = await bot.request("talk", lifetime=600, wait=600)
    queued = await bot.expect("queued", request_id=mine)
    await asyncio.sleep(0.2)
    await bot.release("talk", ticket_number=first["ticket_number"])
    granted = await bot.expect("granted", request_id=mine)
    assert granted["waited"] >= 0.2
    # So the store's clock showed `at - waited` when it processed the request, which was sent before that.
    assert round(granted["at"] - granted["waited"], 3) == queued["at"]
    async with Bot(rabbitmq.url, namespace) as after_a_reconnect:
        await after_a_reconnect.request("talk", mine, lifetime=600, wait=600)
        again = await after_a_reconnect.expect("granted", request_id=mine)
        assert again["at"] > granted["at"]
        assert (again["expires_at"], again["waited"]) == (granted["expires_at"], granted["waited"])
        ids = {
            message.message_id for message in [*bot.messages, *after_a_reconnect.messages] if message.type == "granted"
        }
        assert len(ids) == 2  # of the first holder, and of the second, told twice
        # Which is why `waited` must not be used then: it does not lead back to the moment of the processing.
        assert again["at"] - again["waited"] > queued["at"]


async def test_a_partition_that_is_not_there_comes_back_and_partition_0_tells_the_number(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    config["broker"]["partitions"] = 2
    await start_daemon(config)
    conversation = next(name for name in map("talk-{}".format, range(100)) if partition_of(name, 2) == 1)
    for kind in ("request", "renew", "release"):
        own = {"request_id": f"{kind}-1"}
        await bot.say(kind, conversation, partition=0, **own)
        rejected = await bot.expect("rejected", reason="wrong_partition", **own)
        assert rejected["partitions"] == 2


async def test_a_renewal_by_number_is_answered_with_the_message_id_as_correlation(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    await start_daemon(config)
    number = (await bot.lock("talk"))["ticket_number"]
    body = json.dumps({"type": "renew", "conversation_id": "talk", "ticket_number": number}).encode()
    await bot.send(body, message_id="renewal-1")
    await bot.expect("renewed", ticket_number=number)
    assert [message.correlation_id for message in bot.messages if message.type == "renewed"] == ["renewal-1"]


async def test_a_request_whose_expiration_has_passed_is_a_dead_letter_without_an_answer(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    daemon = await start_daemon(config)
    await daemon.stop()
    body = json.dumps({"type": "request", "conversation_id": "talk", "request_id": "late"}).encode()
    await bot.send(body, expiration=0.05)
    await bot.request("talk", "in time")
    [letter] = await dead_letters(bot, 1)
    assert json.loads(letter.body)["request_id"] == "late"
    await daemon.start()
    granted = await bot.expect("granted")
    assert granted["request_id"] == "in time"
