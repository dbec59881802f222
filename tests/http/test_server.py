"""What holds for every request, whatever is asked for."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from daemon.config.settings import DaemonSettings
from daemon.http import server as module
from daemon.http.app import HEADERS, application
from daemon.http.server import HttpServer
from lockstore.errors import ConfigError

LOOPBACK = "127.0.0.1"


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def broken(_: web.Request) -> web.Response:
    raise RuntimeError("a secret of the inside")


def server_on(host: str = LOOPBACK, port: int = 0) -> HttpServer:
    return HttpServer(host, port, application(host, [web.get("/", hello), web.get("/broken", broken)]))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with server_on() as listening:
        yield listening


def port_of(server: HttpServer) -> int:
    return int(server.url.rstrip("/").rpartition(":")[2])


async def said(server: HttpServer, raw: bytes) -> bytes:
    """Send bytes, and read until the server closes."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port_of(server))
    writer.write(raw)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def asked(server: HttpServer, head: str) -> bytes:
    return await said(server, f"{head}\r\nConnection: close\r\n\r\n".encode())


async def test_get_and_head_are_answered_and_nothing_else(server: HttpServer) -> None:
    async with aiohttp.ClientSession(server.url) as client:
        async with client.get("/") as got:
            assert (got.status, await got.text()) == (200, "hello")
        async with client.head("/") as headed:
            assert (headed.status, await headed.text()) == (200, "")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            async with client.request(method, "/") as refused:
                assert refused.status == 405
                assert refused.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("path", ["/", "/nowhere", "/broken"])
async def test_every_answer_carries_the_headers_that_protect_browsers(path: str, server: HttpServer) -> None:
    async with aiohttp.ClientSession(server.url) as client, client.get(path) as got:
        assert HEADERS.items() <= dict(got.headers).items()


@pytest.mark.parametrize(
    "raw",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/7\r\n\r\n"],
)
async def test_no_answer_tells_a_version(raw: bytes, server: HttpServer) -> None:
    answer = await said(server, raw)
    assert b"\r\nServer: lockstore\r\n" in answer
    assert b"aiohttp" not in answer
    assert b"Python" not in answer


@pytest.mark.parametrize(
    "head",
    [
        f"GET /{'x' * 5000} HTTP/1.1\r\nHost: localhost",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {'x' * 10_000}",
        "GET / HTTP/1.1\r\nHost: localhost" + "".join(f"\r\nX-{number}: 1" for number in range(100)),
    ],
    ids=["long line", "long header", "many headers"],
)
async def test_a_request_that_is_too_large_is_refused(head: str, server: HttpServer) -> None:
    assert b" 400 Bad Request\r\n" in await asked(server, head)


async def test_an_error_of_ours_is_logged_and_not_shown(server: HttpServer, capsys: pytest.CaptureFixture[str]) -> None:
    answer = await asked(server, "GET /broken HTTP/1.1\r\nHost: localhost")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert "a secret of the inside" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "status"),
    [("localhost", 200), ("127.0.0.1:8470", 200), ("[::1]:8470", 200), ("a.localhost", 200), ("evil.example", 421)],
)
async def test_on_a_loopback_address_only_who_asks_for_this_machine_is_answered(
    name: str, status: int, server: HttpServer
) -> None:
    answer = await asked(server, f"GET / HTTP/1.1\r\nHost: {name}")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


async def test_on_another_address_it_may_have_any_name() -> None:
    async with server_on("0.0.0.0") as server:
        assert (await asked(server, "GET / HTTP/1.1\r\nHost: locks.example")).startswith(b"HTTP/1.1 200 ")


async def test_an_address_that_is_taken_is_refused_by_name(server: HttpServer) -> None:
    with pytest.raises(ConfigError, match=rf"daemon.http: 127.0.0.1:{port_of(server)} is taken by another process"):
        async with server_on(port=port_of(server)):
            pass


@pytest.mark.parametrize(("host", "why"), [("no.such.host.invalid", "no such host"), ("192.0.2.1", "cannot listen on")])
async def test_an_address_that_is_not_here_is_refused(host: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"daemon.http: .*{why}"):
        async with server_on(host):
            pass


async def test_a_server_that_listens_no_more_is_noticed(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    running = asyncio.create_task(server.run())
    await asyncio.sleep(0.05)
    assert not running.done()
    server._server.close()
    with pytest.raises(RuntimeError, match="does not listen any more"):
        await running


async def test_an_ipv6_address_is_told_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with server_on("::1") as server:
        assert server.url.startswith("http://[::1]:")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("127.0.0.1:8470", ("127.0.0.1", 8470)),
        ("[::1]:0", ("::1", 0)),
        ("locks.example:80", ("locks.example", 80)),
        (None, None),
    ],
)
def test_the_option_is_host_and_port(given: str | None, place: tuple[str, int] | None) -> None:
    assert DaemonSettings(http=given).http_place == place


@pytest.mark.parametrize(
    "given", ["8470", ":8470", "::1:8470", "localhost", "localhost:99999", "http://localhost:1", ""]
)
def test_any_other_text_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        DaemonSettings(http=given)
