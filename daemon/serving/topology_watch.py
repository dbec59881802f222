"""Watching what must exist on the broker while a daemon serves: what an operator removed is declared again, and reported.

AMQP tells whether an exchange or a queue exists, and not which bindings there are. So the bindings are made again at each
look, which changes nothing where they exist. A request queue that is deleted ends its consumer, and with it the session;
the next session declares it under the layout lock.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from daemon.broker import request_queues as layout
from daemon.broker import topology
from daemon.broker.connection import open_channel, say_what_ended, underlying_channel
from daemon.serving.runtime import Runtime
from lockstore.errors import ConfigError
from lockstore.protocol.naming import Names

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["LOOK_S", "TopologyWatch", "find_missing_exchanges"]

LOOK_S = 2.0
"""How long an exchange or a binding may be missing before it is noticed."""

_log = structlog.get_logger()


async def find_missing_exchanges(connection: "AbstractConnection", names: Names) -> list[str]:
    """Give the exchanges that do not exist, of those that messages travel through. Raises one of `link.LOST`."""
    missing: list[str] = []
    channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
    for exchange in (names.requests, names.events, names.dead_letters):
        try:
            await channel.exchange_declare(exchange, passive=True)
        except ChannelNotFoundEntity:  # which ends the channel
            missing.append(exchange)
            channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
    await channel.close()
    return missing


class TopologyWatch:
    """Looks after exchanges and bindings on one connection."""

    def __init__(self, runtime: Runtime, connection: "AbstractConnection") -> None:
        self._runtime = runtime
        self._connection = connection
        self._broker = runtime.settings.broker
        self._may_bind = True

    async def run(self, ending: asyncio.Event) -> None:
        """Look until `ending` is set. Raises one of `link.LOST`."""
        while not ending.is_set():
            await asyncio.sleep(LOOK_S)
            if not ending.is_set():
                await self._look()

    async def _look(self) -> None:
        health = self._runtime.health
        missing = [
            f"the exchange {name}" for name in await find_missing_exchanges(self._connection, self._broker.names)
        ]
        if await layout.dead_letters_or_none(self._connection, self._broker.names) is None:
            missing.append(f"the queue {self._broker.names.dead_letters}")
        if not missing:
            health.clear("topology_missing")
            await self._bind()
            return
        what = " and ".join(missing)
        if not health.conditions("topology_missing"):
            _log.error("topology.missing", missing=what)
        health.set("topology_missing", f"{what} was removed from the broker")
        try:
            await self._declare()
        except (ChannelAccessRefused, ConfigError) as error:
            health.set("topology_missing", f"{what} was removed, and cannot be declared again: {say_what_ended(error)}")
        else:
            self._runtime.counters.repairs += 1
            health.set("topology_missing", f"{what} was removed from the broker; it is declared again")
            _log.warning("topology.repaired", declared=what)

    async def _declare(self) -> None:
        async with layout.topology_lock(self._connection, self._broker.names):
            channel = await open_channel(self._connection)
            await topology.declare(channel, self._broker)
            await channel.close()

    async def _bind(self) -> None:
        names = self._broker.names
        channel = await underlying_channel(await open_channel(self._connection, publisher_confirms=False))
        try:
            await channel.queue_bind(names.dead_letters, names.dead_letters)
            for partition in range(self._broker.partitions):
                await channel.queue_bind(names.request_queue(partition), names.requests, str(partition))
        except ChannelAccessRefused as error:
            if self._may_bind:
                _log.warning("topology.unwatched", error=say_what_ended(error))
            self._may_bind = False
            return
        self._may_bind = True
        await channel.close()
