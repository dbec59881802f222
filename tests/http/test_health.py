"""/livez and /readyz of a real daemon, while what it needs goes away and comes back."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from harness import DaemonProcess, RabbitMQ, RedisServer
from harness.ports import LOOPBACK
from tests.conftest import DaemonMaker
from tests.support.bot import Bot
from tests.support.manager import Manager
from tests.support.proxy import Proxy
from tests.support.serve import run_serve

ANYWHERE = f"{LOOPBACK}:0"


class Probe:
    """Asks one daemon for its health."""

    def __init__(self, daemon: DaemonProcess, client: aiohttp.ClientSession) -> None:
        self._daemon = daemon
        self._client = client

    async def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self._client.get(f"{self._daemon.http_url}{path}") as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    async def reasons(self) -> set[str]:
        """Give why it is not ready; all the while it is alive."""
        status, told = await self.ask("readyz")
        reasons = {reason["reason"] for reason in told["reasons"]}
        assert (status, told["ready"]) == ((503, False) if reasons else (200, True))
        assert all(reason["for"] >= 0 and reason["detail"] for reason in told["reasons"])
        assert await self.ask("livez") == (200, {"alive": True, "reasons": []})
        return reasons

    async def until(self, holds: Callable[[set[str]], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds(await self.reasons()):
                await asyncio.sleep(0.05)

    async def sees(self, metric: str) -> None:
        async with asyncio.timeout(20):
            while metric not in await self._text("metrics"):
                await asyncio.sleep(0.05)

    async def _text(self, path: str) -> str:
        async with self._client.get(f"{self._daemon.http_url}{path}") as answer:
            return await answer.text()

    async def is_ready(self) -> None:
        await self.until(lambda reasons: not reasons)


async def listening(daemon: DaemonProcess) -> None:
    async with asyncio.timeout(20):
        while not daemon.events("http.listening"):
            await asyncio.sleep(0.02)


async def test_from_start_to_stop_readyz_and_the_service_manager_are_told_what_is_missing(
    rabbitmq: RabbitMQ, config: dict[str, Any], namespace: str, tmp_path: Path
) -> None:
    config["daemon"] |= {"http": ANYWHERE, "stop_timeout": 30}
    async with (
        RedisServer() as redis,
        Proxy(rabbitmq.host, rabbitmq.port) as wire,
        aiohttp.ClientSession() as client,
        Manager(str(tmp_path / "notify")) as manager,
    ):
        await redis.stop()
        wire.block()
        config["lock_store"]["port"] = redis.port
        config["broker"]["url"] = wire.url
        daemon = DaemonProcess(config, env={"NOTIFY_SOCKET": manager.address})
        starting = asyncio.create_task(daemon.start())
        try:
            await listening(daemon)
            probe = Probe(daemon, client)
            await probe.until(lambda reasons: reasons == {"store_away", "broker_away", "not_consuming"})
            await manager.hears("STATUS=waiting for the lock store: ")
            await manager.hears("EXTEND_TIMEOUT_USEC=")
            await redis.start()
            await probe.until(lambda reasons: reasons == {"broker_away", "not_consuming"})
            await manager.hears("STATUS=waiting for RabbitMQ: ")
            assert "READY=1" not in manager.said
            wire.unblock()
            await starting
            await probe.is_ready()
            await manager.hears("STATUS=standing by for 1 partition")

            wire.block()
            await probe.until(lambda reasons: reasons == {"broker_away", "not_consuming"})
            wire.unblock()
            await probe.is_ready()

            await redis.stop()
            await probe.until(lambda reasons: reasons == {"store_away"})
            assert "STOPPING=1" not in manager.said
            async with Bot(rabbitmq.url, namespace) as bot:
                await bot.request("c")  # which is under way until the store is back
                await probe.sees("lockstore_messages_in_hand 1.0")
                os.kill(daemon.pid, signal.SIGTERM)
                await probe.until(lambda reasons: "draining" in reasons)
                await redis.start()
                await bot.expect("granted")
            assert await daemon.process.wait(20) == 0
            await manager.hears("STOPPING=1")
            assert manager.count("READY=1") == 1
            assert not [line for line in manager.said if "guest" in line or "WATCHDOG" in line]
        finally:
            starting.cancel()
            await daemon.close()


async def test_a_blocked_connection_is_not_ready(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker
) -> None:
    config["daemon"]["http"] = ANYWHERE
    daemon = await start_daemon(config)
    async with aiohttp.ClientSession() as client:
        probe = Probe(daemon, client)
        await probe.is_ready()
        await rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
        try:
            await probe.until(lambda reasons: reasons == {"broker_blocked"})
        finally:
            await rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
        await probe.is_ready()
    assert "guest:guest" not in daemon.log.read_text()


async def test_a_second_daemon_on_the_same_port_refuses_to_start(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), LOOPBACK)
    place = f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    refused = await asyncio.to_thread(run_serve, {"daemon": {"http": place}}, tmp_path)
    server.close()
    assert refused.returncode == 2
    assert f"daemon.http: {place} is taken by another process" in refused.stderr
    assert "Traceback" not in refused.stderr
