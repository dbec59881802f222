"""A daemon that strangers connect to and never ask properly: probes are answered, and the metrics say how many there are."""

import asyncio
import socket
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp

from harness import DaemonProcess, RabbitMQ
from harness.ports import LOOPBACK

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
EACH = 50
LIMIT_S = 30.0


async def connected(port: int, sent: bytes) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, port), LIMIT_S)
    connection.setblocking(False)  # noqa: FBT003 - its only argument
    await asyncio.get_running_loop().sock_sendall(connection, sent)
    return connection


async def ask(port: int) -> socket.socket:
    connection = await connected(port, GET)
    answer = b""
    async with asyncio.timeout(LIMIT_S):
        while not answer.endswith(b"}\n"):
            answer += await asyncio.get_running_loop().sock_recv(connection, 1000)
    return connection


async def dribble(connections: list[socket.socket]) -> None:
    for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 4000:
        for connection in connections:
            with suppress(OSError):
                connection.send(bytes([byte]))
        await asyncio.sleep(0.2)


async def metrics(client: aiohttp.ClientSession) -> dict[str, float]:
    async with client.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


async def test_150_bad_connections_keep_no_probe_waiting_and_are_counted(rabbitmq: RabbitMQ, namespace: str) -> None:
    config: dict[str, Any] = {
        "lock_store": {"type": "in_memory"},
        "broker": {"url": rabbitmq.url, "namespace": namespace},
        "daemon": {"http": f"{LOOPBACK}:0"},
    }
    async with DaemonProcess(config) as daemon, AsyncExitStack() as stack:
        port = int(daemon.http_url.rstrip("/").rpartition(":")[2])
        asked: list[socket.socket] = []
        for _ in range(EACH):
            asked.append(stack.enter_context(await ask(port)))
            for sent in (b"", GET[:20]):
                stack.enter_context(await connected(port, sent))
        stack.callback(asyncio.create_task(dribble(asked)).cancel)
        for _ in range(5):
            for path in ("/livez", "/readyz"):  # each a connection of its own, as a probe's
                async with (
                    asyncio.timeout(LIMIT_S),
                    aiohttp.ClientSession(daemon.http_url) as client,
                    client.get(path) as answer,
                ):
                    assert answer.status == 200
        async with aiohttp.ClientSession(daemon.http_url) as client:
            counted = await metrics(client)
            closed = 'lockstore_http_closed_connections_total{reason="%s"}'
            assert counted["lockstore_http_connections"] + counted[closed % "expired"] > 3 * EACH
            assert counted[closed % "evicted"] == 0
            async with asyncio.timeout(60):  # each has 10 seconds for a whole request
                while counted[closed % "expired"] < 3 * EACH:
                    await asyncio.sleep(0.5)
                    counted = await metrics(client)
        assert not daemon.events("http.failed")
