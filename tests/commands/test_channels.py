"""`lockstore check` knows how many channels a daemon opens, and compares that with what RabbitMQ allows per connection."""

import asyncio
import json
from pathlib import Path

from daemon.config.settings import Settings
from daemon.serving.session import count_channels
from harness import RabbitMQ
from tests.commands.conftest import Place
from tests.conftest import DaemonMaker

ALLOWED = 30
FITS, TOO_MANY = 7, 8  # partitions; with 8 a daemon opens 27 channels, and a few more from time to time


def needed(place: Place) -> int:
    return count_channels(Settings.model_validate(place.config))


async def server_step(place: Place) -> dict[str, str]:
    ran = await asyncio.to_thread(place.run, "check", "--json")
    found: dict[str, str] = next(step for step in json.loads(ran.stdout)["steps"] if step["name"] == "RabbitMQ: server")
    return found


async def test_more_partitions_than_rabbitmq_allows_channels_for_are_found_and_what_fits_does_fit(
    place: Place, start_daemon: DaemonMaker, tmp_path: Path
) -> None:
    async with RabbitMQ({"channel_max": str(ALLOWED)}, folder=tmp_path / "rabbitmq") as node:
        many = place.changed(tmp_path, broker={"url": node.url, "partitions": TOO_MANY})
        step = await server_step(many)
        assert step["result"] == "fail"
        assert f"allows {ALLOWED} channels" in step["said"]
        assert f"with {TOO_MANY} partitions opens up to {needed(many)}" in step["said"]
        assert f"channel_max in rabbitmq.conf to {needed(many)}" in step["remedy"]
        few = place.changed(tmp_path, broker={"url": node.url, "partitions": FITS})
        assert (await server_step(few))["result"] == "ok"
        daemon = await start_daemon(few.config)
        opened = int((await node.ctl("list_connections", "channels", "--silent")).split()[-1])
        assert needed(few) - 5 <= opened <= needed(few) <= ALLOWED
        await daemon.stop()


async def test_a_daemon_without_public_events_opens_fewer(place: Place, tmp_path: Path) -> None:
    quiet = place.changed(tmp_path, daemon={"events": False}, broker={"partitions": TOO_MANY})
    loud = place.changed(tmp_path, broker={"partitions": TOO_MANY})
    assert needed(loud) - needed(quiet) == TOO_MANY + 1
