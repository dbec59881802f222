"""The nodes of `broker.url` over the life of a daemon: which one it is connected to, and which have failed."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from daemon.broker.connection import FilteredConnection, address_of, connect, hosts_of
from daemon.config.settings import BrokerSettings

__all__ = ["BrokerNodes"]

_STEADY_S = 5.0  # a connection that lasts so long was a good one: what failed before it says nothing of the next one

_log = structlog.get_logger()


class BrokerNodes:
    """One connection after the other. A node whose connection came to nothing is tried after all others."""

    def __init__(self, broker: BrokerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._broker, self._hosts = broker, hosts_of(broker)
        self.address = address_of(broker)
        """Of the node that it is, or was last, connected to; while none could be connected to, of all."""

    @property
    def has_untried(self) -> bool:
        """Whether another node is left of which it is not known that it fails."""
        return self._hosts.has_untried

    @asynccontextmanager
    async def connect(self, broker: BrokerSettings) -> AsyncIterator[FilteredConnection]:
        """Connect to a node, and close at the end. Raises what `daemon.broker.connection.connect` does."""
        if (broker.url, broker.connect_timeout) != (self._broker.url, self._broker.connect_timeout):
            self._broker, self._hosts = broker, hosts_of(broker)
        self.address = address_of(broker)
        async with connect(broker, self._hosts) as connection:
            began_at = self._clock()
            self.address = connection.endpoint.address
            _log.info("broker.connected", node=self.address.place, passed_over=self._hosts.passed_over)
            try:
                yield connection
            finally:
                if self._clock() - began_at > _STEADY_S:
                    self._hosts.forget_failures()
                self._hosts.mark_failed(connection.endpoint)
