"""A client that may follow events and nothing else, on a broker that does not let it look at the exchange of requests."""

import asyncio
import logging
from typing import Any

import pytest
from aiormq.channel import Channel
from aiormq.exceptions import ChannelAccessRefused

from lockstore.client import LockClient
from tests.client.stand_in import LIMIT_S, StandIn
from tests.client.test_events import Reader
from tests.support.proxy import Proxy


async def test_a_follower_that_may_not_look_at_the_exchange_stays_connected_and_says_so_once(
    proxy: Proxy, namespace: str, daemon: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    declare: Any = Channel.exchange_declare

    async def refusing(self: Channel, exchange: Any, *args: Any, **options: Any) -> Any:
        """Answer a passive declaration of the requests' exchange as RabbitMQ 4.3 does, where a right is missing."""
        if options.get("passive") and exchange == f"{namespace}.requests":
            raise ChannelAccessRefused(f"ACCESS_REFUSED - access to exchange '{exchange}' refused for user 'follower'")
        return await declare(self, exchange, *args, **options)

    monkeypatch.setattr(Channel, "exchange_declare", refusing)
    caplog.set_level(logging.INFO, "lockstore")
    async with LockClient(proxy.url, namespace=namespace) as follower:
        for connections in (1, 2):
            reader = Reader(follower.events())
            await reader.is_on(daemon)
            assert proxy.connections == connections
            await reader.stop()
            proxy.cut()
            async with asyncio.timeout(LIMIT_S):
                while proxy.connections == connections:
                    await asyncio.sleep(0.01)
    said = [record.message for record in caplog.records if "cannot be checked" in record.message]
    assert len(said) == 1
    assert "ACCESS_REFUSED" in said[0]
