"""How a connection of aiormq's gets a reader that no publisher can end."""

import asyncio
from typing import Any, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from lockstore.amqp.frame_filter import FrameFilter

__all__ = ["FilteringTransport"]


class FilteringTransport(TransportFactory):
    """Opens the socket as aiormq itself would, and puts a FrameFilter before it. Give it as `transport_factory`."""

    def __init__(self, body_limit: int) -> None:
        """Take the most bytes that a body may have before only a prefix of it is read."""
        self._body_limit = body_limit

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect. Raises AMQPConnectionError."""
        inner = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await inner.create(url, **kwargs)
        filtering = FrameFilter(reader, self._body_limit)
        return cast("asyncio.StreamReader", filtering), writer  # it has all that aiormq uses of one
