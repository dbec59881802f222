"""What the tests of the client share: a wire that can be cut, and a daemon played by the test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from harness import RabbitMQ
from lockstore.client import LockClient
from tests.client.stand_in import StandIn
from tests.support.proxy import Proxy


@pytest_asyncio.fixture
async def proxy(rabbitmq: RabbitMQ) -> AsyncIterator[Proxy]:
    """Stand between the client and the broker."""
    async with Proxy(rabbitmq.host, rabbitmq.port) as wire:
        yield wire


@pytest_asyncio.fixture
async def locks(proxy: Proxy, namespace: str) -> AsyncIterator[LockClient]:
    """Connect a client through the proxy."""
    async with LockClient(proxy.url, namespace=namespace) as client:
        yield client
        proxy.unblock()  # otherwise closing would wait for its limit


@pytest_asyncio.fixture
async def daemon(rabbitmq: RabbitMQ, namespace: str) -> AsyncIterator[StandIn]:
    """Play the daemon."""
    async with StandIn(rabbitmq.url, namespace) as stand_in:
        yield stand_in
