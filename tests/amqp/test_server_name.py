"""A TLS connection goes to one address of a host, and verifies the certificate for the host's name, on whichever aiormq is installed."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from lockstore.amqp.address import BrokerAddress
from lockstore.amqp.errors import broker_errors
from lockstore.amqp.hosts import Endpoint
from lockstore.amqp.opening import OpeningConnection
from lockstore.errors import BrokerLostError

GREETING = b"AMQP\0\0\x09\x01"


@asynccontextmanager
async def tls_server(authority: trustme.CA, name: str) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve TLS with a certificate for a name, and note what is heard inside."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    heard: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(8))
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heard


@pytest.fixture
def connect(tmp_path: Path) -> Callable[[trustme.CA, int], "asyncio.Future[bool]"]:
    def start(authority: trustme.CA, port: int) -> "asyncio.Future[bool]":
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        query = f"?cafile={tmp_path / 'ca.pem'}"
        address = BrokerAddress.of(f"amqps://guest:guest@broker.test:{port}/")
        endpoint = Endpoint(f"amqps://guest:guest@127.0.0.1:{port}/{query}", address, "127.0.0.1")
        connection = OpeningConnection(endpoint.url, body_limit=5000, endpoint=endpoint)

        async def opening() -> bool:
            with broker_errors(address):
                return await connection.connect()

        return asyncio.ensure_future(opening())

    return start


async def test_the_certificate_of_the_name_is_taken(
    connect: Callable[[trustme.CA, int], "asyncio.Future[bool]"],
) -> None:
    authority = trustme.CA()
    async with tls_server(authority, "broker.test") as (port, heard):
        with pytest.raises(BrokerLostError) as caught:  # it hangs up after the greeting
            await connect(authority, port)
        assert "certificate" not in str(caught.value)
        assert heard == [GREETING]


async def test_a_certificate_of_another_name_is_refused(
    connect: Callable[[trustme.CA, int], "asyncio.Future[bool]"],
) -> None:
    authority = trustme.CA()
    async with tls_server(authority, "other.test") as (port, heard):
        with pytest.raises(BrokerLostError, match="issued for another name"):
            await connect(authority, port)
        assert heard == []
