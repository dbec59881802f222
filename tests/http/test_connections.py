"""Connections that are slow, silent or too many: what they may take, and that they keep nobody out."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from daemon.http.app import application
from daemon.http.connections import ConnectionLimits
from daemon.http.server import HttpServer

LOOPBACK = "127.0.0.1"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMIT_S = 30.0


class Short(ConnectionLimits):
    request_s = 0.2


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def large(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * 10_000_000)


async def page(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * 300_000)


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(0.3)
    return web.Response(text="slow")


@asynccontextmanager
async def serving(limits: ConnectionLimits) -> AsyncIterator[HttpServer]:
    routes = [web.get("/", hello), web.get("/large", large), web.get("/page", page), web.get("/slow", slow)]
    async with HttpServer(LOOPBACK, 0, application(LOOPBACK, routes), limits) as server:
        yield server


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(server: HttpServer) -> Streams:
    return await asyncio.open_connection(LOOPBACK, int(server.url.rstrip("/").rpartition(":")[2]))


async def is_closed(reader: asyncio.StreamReader) -> None:
    """Read until the server has closed the connection."""
    async with asyncio.timeout(LIMIT_S):
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass


async def dribble(writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 10_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_a_request_that_dribbles_is_given_up_whether_it_is_the_first_or_a_further_one() -> None:
    async with serving(Short()) as server:
        for before in (b"", GET):
            reader, writer = await connected(server)
            if before:
                writer.write(before)
                assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
            dribbling = asyncio.create_task(dribble(writer))
            await is_closed(reader)
            await dribbling
            writer.close()
        assert server.connections.expired == 2


async def test_who_connects_and_asks_nothing_is_let_go_and_who_has_asked_stays() -> None:
    async with serving(Short()) as server:
        reader, silent = await connected(server)
        await is_closed(reader)
        silent.close()
        async with aiohttp.ClientSession(server.url) as client:
            for _ in range(2):
                async with client.get("/") as got:
                    assert got.status == 200
                await asyncio.sleep(0.4)
            assert len(client.connector._conns) == 1  # type: ignore[union-attr]


async def test_who_has_asked_is_let_go_after_a_while_without_a_further_request() -> None:
    limits = ConnectionLimits()
    limits.idle_s = 0.2
    async with serving(limits) as server:
        reader, writer = await connected(server)
        writer.write(GET)
        await is_closed(reader)
        writer.close()
        assert server.connections.expired == 1


async def test_a_client_that_does_not_read_its_answer_is_let_go() -> None:
    limits = ConnectionLimits()
    limits.answer_s = 0.5
    async with serving(limits) as server:
        reader, writer = await connected(server)
        writer.write(GET.replace(b"/ ", b"/large ", 1))
        async with asyncio.timeout(LIMIT_S):
            while not server.connections.expired:
                await asyncio.sleep(0.02)
        await is_closed(reader)
        assert len(server.connections) == 0
        writer.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", GET, GET + b"GET", GET.replace(b"/ ", b"/page ", 1) * 5, GET * 50],
    ids=["silent", "half a request", "idle", "a request and a half", "unread", "pipelined"],
)
async def test_a_thousand_bad_connections_keep_nobody_out(sent: bytes) -> None:
    async with serving(ConnectionLimits()) as server:
        opened: list[Streams] = []
        try:
            for _ in range(20):
                opened += await asyncio.gather(*(connected(server) for _ in range(50)))
                for _, writer in opened[-50:]:
                    writer.write(sent)
                async with (
                    asyncio.timeout(LIMIT_S),
                    aiohttp.ClientSession(server.url) as client,
                    client.get("/") as got,
                ):
                    assert (got.status, await got.text()) == (200, "hello")
                assert len(server.connections) <= ConnectionLimits.most
            assert server.connections.evicted >= 1000 - ConnectionLimits.most
        finally:
            for _, writer in opened:
                writer.transport.abort()


async def test_the_connection_that_is_closed_for_another_is_the_one_that_waits_longest_for_its_request() -> None:
    limits = ConnectionLimits()
    limits.most = 2
    async with serving(limits) as server:
        busy_reader, busy = await connected(server)
        busy.write(GET.replace(b"/ ", b"/slow ", 1))
        await busy.drain()
        idle_reader, idle = await connected(server)
        await asyncio.sleep(0.05)
        reader, writer = await connected(server)
        writer.write(GET)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        await is_closed(idle_reader)
        assert (await busy_reader.readuntil(b"slow")).startswith(b"HTTP/1.1 200 ")
        for each in (busy, idle, writer):
            each.close()


@pytest.mark.parametrize("path", [b"/ ", b"/slow "])
async def test_a_client_that_has_shut_down_its_side_gets_its_answers(path: bytes) -> None:
    async with serving(ConnectionLimits()) as server:
        reader, writer = await connected(server)
        writer.write(GET.replace(b"/ ", path, 1) * 2)
        writer.write_eof()
        async with asyncio.timeout(LIMIT_S):
            assert (await reader.read()).count(b"HTTP/1.1 200 ") == 2
        writer.close()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", b"200"),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\nx", b"405"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    ],
    ids=["HTTP/1.0", "absolute", "absolute, elsewhere", "upgrade", "method", "chunked", "TLS"],
)
async def test_each_request_has_one_answer_and_an_end(raw: bytes, status: bytes) -> None:
    limits = ConnectionLimits()
    limits.idle_s = 1.0
    async with serving(limits) as server:
        reader, writer = await connected(server)
        writer.write(raw)
        async with asyncio.timeout(LIMIT_S):
            answer = await reader.read()
        assert answer.partition(b"\r\n")[0].split()[1] == status
        writer.close()
