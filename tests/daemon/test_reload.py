"""SIGHUP: the configuration is read again."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from daemon.cli import serve
from daemon.config.reload import FIXED, merge_reloadable
from daemon.config.settings import Settings
from daemon.service import Service
from harness import DaemonProcess
from harness.daemon_process import without_http
from lockstore.errors import ConfigError
from tests.conftest import DaemonMaker
from tests.support.bot import Bot
from tests.support.manager import Manager

OTHERS: dict[str, Any] = {
    "namespace": "other",
    "partitions": 2,
    "delivery_limit": 7,
    "dead_letters": 7,
    "dead_letters_bytes": 7_000_000,
    "heartbeat": 7,
    "prefetch": 7,
    "dedup_window": 7,
    "http": None,
    "tracing": True,
}


@pytest.mark.parametrize(("section", "name"), [(section, name) for section in FIXED for name in sorted(FIXED[section])])
def test_what_takes_a_restart_is_refused_by_name(section: str, name: str) -> None:
    other = Settings.model_validate({section: {name: OTHERS[name]}})
    with pytest.raises(ConfigError, match=rf"{section}.{name}: has changed, which requires a restart"):
        merge_reloadable(Settings(), other)


def test_another_lock_store_is_refused() -> None:
    with pytest.raises(ConfigError, match="lock_store: has changed"):
        merge_reloadable(Settings(), Settings(lock_store={"type": "redis"}))


def test_everything_else_may_change() -> None:
    other = Settings.model_validate(
        {
            "broker": {"url": "amqp://other/", "balance": False},
            "daemon": {"lifetime": 7, "max_waiting": 7, "events": False},
        }
    )
    assert merge_reloadable(Settings(), other) is other


class Impostor:
    """A service that only notes whether it was to reload, and ends."""

    stop_timeout_s = 60.0
    reloads = 0

    def describe_left(self) -> str:
        return ""

    def reload(self) -> None:
        self.reloads += 1

    async def run(self, _: asyncio.Event) -> None:
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(("at_the_start", "reloads"), [(signal.SIG_IGN, 0), (signal.SIG_DFL, 1)])
def test_sighup_that_is_ignored_at_the_start_stays_ignored(at_the_start: signal.Handlers, reloads: int) -> None:
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGHUP, at_the_start)
    service = Impostor()
    try:
        asyncio.run(serve.run(cast("Service", service)))
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert service.reloads == reloads


async def reload(daemon: DaemonProcess, config: dict[str, Any], event: str) -> dict[str, Any]:
    """Have a daemon read a configuration, and give the log line that comes of it."""
    before = len(daemon.events(event))
    daemon.config_file.write_text(yaml.safe_dump(without_http(config)))
    os.kill(daemon.pid, signal.SIGHUP)
    async with asyncio.timeout(20):
        while len(daemon.events(event)) == before:
            await asyncio.sleep(0.02)
    return daemon.events(event)[-1]


async def test_a_reload_takes_effect_and_one_that_cannot_be_changes_nothing(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    async def lease() -> float:
        granted = await bot.lock("c")
        await bot.release("c", ticket_number=granted["ticket_number"])
        return float(granted["expires_at"] - granted["at"])

    config["daemon"]["lifetime"] = 10
    async with Manager(str(tmp_path / "notify")) as manager:
        daemon = await start_daemon(config, env={"NOTIFY_SOCKET": manager.address})
        assert await lease() == pytest.approx(10)

        config["daemon"] |= {"lifetime": 20, "max_waiting": 1}
        await reload(daemon, config, "daemon.ready")
        assert await lease() == pytest.approx(20)
        await bot.lock("held")
        await bot.request("held", wait=5)
        assert (await bot.expect("rejected"))["reason"] == "line_full"  # the store has the new limits too
        await manager.until(lambda said: said.count("READY=1") == 2)
        begun = manager.said.index("RELOADING=1")
        assert manager.said[begun + 1].startswith("MONOTONIC_USEC=")
        assert "READY=1" in manager.said[begun:]

        refused = await reload(
            daemon, config | {"broker": {**config["broker"], "partitions": 2}}, "daemon.reload_refused"
        )
        assert refused["error"] == "broker.partitions: has changed, which requires a restart"
        refused = await reload(daemon, config | {"daemon": {"lifetme": 1}}, "daemon.reload_refused")
        assert "daemon.lifetme" in refused["error"]
        assert await lease() == pytest.approx(20)
        await manager.until(lambda said: said.count("READY=1") == said.count("RELOADING=1") + 1 == 4)
        assert await daemon.stop() == 0
