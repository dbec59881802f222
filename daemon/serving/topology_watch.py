"""Watching what must exist on the broker while a daemon serves: what an operator removed is declared again, and reported.

AMQP tells whether an exchange or a queue exists, and not which bindings there are. So the bindings are made again at each
look, which changes nothing where they exist. A request queue that is deleted ends its consumer, and with it the session;
the next session declares it under the layout lock. A right that is lost ends no session: it is noted.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog
from aio_pika import ExchangeType
from aiormq.exceptions import ChannelAccessRefused

from daemon.broker import request_queues as layout
from daemon.broker import topology
from daemon.broker.connection import open_channel, say_what_ended, underlying_channel
from daemon.serving.runtime import Runtime
from lockstore.errors import ConfigError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection
    from aiormq.channel import Channel

__all__ = ["BINDINGS_EACH", "LOOK_S", "TopologyWatch"]

LOOK_S = 2.0
"""How long an exchange or a binding may be missing before it is noticed."""

BINDINGS_EACH = 32
"""How many partitions are bound again at each look, in turn: with 256 of them, all at once took a twentieth of a core."""

_log = structlog.get_logger()


async def _channel(connection: "AbstractConnection") -> "Channel":
    return await underlying_channel(await open_channel(connection, publisher_confirms=False))


class TopologyWatch:
    """Checks exchanges and bindings on one connection."""

    def __init__(self, runtime: Runtime, connection: "AbstractConnection") -> None:
        self._runtime = runtime
        self._connection = connection
        self._broker = runtime.settings.broker
        self._first = 0  # partition whose binding is made next
        self._is_said = False

    async def run(self, ending: asyncio.Event) -> None:
        """Check until `ending` is set. Raises one of `connection.CONNECTION_ERRORS`."""
        while not ending.is_set():
            await asyncio.sleep(LOOK_S)
            if not ending.is_set():
                await self._look()

    async def _look(self) -> None:
        """Check once. Raises one of `connection.CONNECTION_ERRORS`."""
        health = self._runtime.health
        missing = [
            f"the exchange {name}"
            for name in await topology.find_missing_exchanges(self._connection, self._broker.names)
        ]
        try:
            if await layout.dead_letters_or_none(self._connection, self._broker.names) is None:
                missing.append(f"the queue {self._broker.names.dead_letters}")
            if not missing:
                await self._bind()
        except ChannelAccessRefused as error:
            self._note_lost_right(say_what_ended(error))
        else:
            if not missing:
                self._forget_lost_right()
        if missing:
            await self._repair(" and ".join(missing))
        else:
            health.clear("topology_missing")

    async def _repair(self, what: str) -> None:
        health = self._runtime.health
        if not health.conditions("topology_missing"):
            _log.error("topology.missing", missing=what)
        health.set("topology_missing", f"{what} was removed from the broker")
        try:
            await self._declare()
        except (ChannelAccessRefused, ConfigError) as error:
            said = say_what_ended(error)
            health.set("topology_missing", f"{what} was removed, and cannot be declared again: {said}")
            if isinstance(error, ChannelAccessRefused):
                self._note_lost_right(said)
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
        """Declare bindings again; the answer to the last one shows whether all were declared."""
        names = self._broker.names
        channel = await _channel(self._connection)
        number = self._broker.partitions
        for place in range(self._first, self._first + min(BINDINGS_EACH, number)):
            partition = place % number
            await channel.queue_bind(names.request_queue(partition), names.requests, str(partition), nowait=True)
        self._first = (self._first + BINDINGS_EACH) % number if number > BINDINGS_EACH else 0
        await channel.queue_bind(names.dead_letters, names.dead_letters)
        # It exists, so this changes nothing, but shows whether it could be declared again.
        await channel.exchange_declare(names.events, exchange_type=ExchangeType.TOPIC.value, durable=True)
        await channel.close()

    def _note_lost_right(self, said: str) -> None:
        self._runtime.health.note(
            "topology_unwatched", f"what is removed from the broker cannot all be declared or bound again: {said}"
        )
        if not self._is_said:
            _log.warning("topology.unwatched", error=said)
        self._is_said = True

    def _forget_lost_right(self) -> None:
        self._runtime.health.forget("topology_unwatched")
        if self._is_said:
            _log.info("topology.watched")
        self._is_said = False
