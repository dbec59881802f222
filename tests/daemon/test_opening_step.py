"""A broker that takes the connection and then does not answer: what the daemon waits for is named."""

import asyncio
from typing import Any

import aio_pika
import pytest
import structlog

from daemon import service
from daemon.config.settings import Settings
from harness import RabbitMQ
from lockstore.stores.memory import InMemoryLockStore

PATIENCE_S = 60


async def test_an_opening_that_does_not_come_to_an_end_says_at_which_step(
    rabbitmq: RabbitMQ, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_OPEN_S", 1.0)
    broker: dict[str, Any] = {"url": rabbitmq.url, "namespace": namespace}
    settings = Settings.model_validate({"broker": broker, "daemon": {"http": None}})
    stop = asyncio.Event()
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(f"{namespace}.layout", exclusive=True)  # the lock is somebody else's
        with structlog.testing.capture_logs() as logged:
            running = asyncio.create_task(service.Service(settings, InMemoryLockStore()).run(stop))
            async with asyncio.timeout(PATIENCE_S):
                while not any(entry["event"] == "broker.lost" for entry in logged):
                    await asyncio.sleep(0.05)
            stop.set()
            await running
    (lost, *_) = [entry for entry in logged if entry["event"] == "broker.lost"]
    assert lost["error"].startswith(
        f"{rabbitmq.host}:{rabbitmq.port} did not answer within 1 seconds while taking the topology lock"
    )
    assert f"quorum_status {namespace}.requests.0" in lost["error"]
