"""Temporary: the shared tests/conftest.py is to have these."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.rabbitmq import RabbitMQ
from tests.client.proxy import Proxy
from tests.client.stand_in import StandIn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbitmq() -> AsyncIterator[RabbitMQ]:
    async with RabbitMQ() as server:
        yield server


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest_asyncio.fixture
async def proxy(rabbitmq: RabbitMQ) -> AsyncIterator[Proxy]:
    async with Proxy(rabbitmq.host, rabbitmq.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def daemon(rabbitmq: RabbitMQ, namespace: str) -> AsyncIterator[StandIn]:
    async with StandIn(rabbitmq.url, namespace) as stand_in:
        yield stand_in
