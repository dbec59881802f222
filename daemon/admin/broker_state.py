"""Broker state: which queues exist, who consumes from them, how many messages wait. Reads only; changes nothing."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelLockedResource

from daemon.broker import request_queues as layout
from daemon.broker.connection import open_channel
from daemon.cluster.listening import LISTEN_S, collect_heartbeats
from daemon.config.settings import BrokerSettings
from daemon.serving.topology_watch import find_missing_exchanges
from lockstore.protocol.naming import Names

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

    from daemon.cluster.heartbeat import Heartbeat

__all__ = ["BrokerState", "dead_letters", "read_broker_state", "read_queues"]

_AT_ONCE = 8  # questions after queues; each takes a channel of its own where the answer is no


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What stands at the broker under one namespace."""

    namespace: str
    partitions: int  # as configured
    queues: dict[int, layout.Queue]
    daemons: "list[Heartbeat]"
    dead_letters: int | None  # None: there is no queue of them
    missing_exchanges: Sequence[str] = ()

    @property
    def number(self) -> int:
        """For how many partitions queues were declared."""
        return layout.number_of(self.queues)

    @property
    def is_served(self) -> bool:
        """Whether anybody consumes any of them."""
        return any(queue.consumers for queue in self.queues.values())


async def read_broker_state(
    connection: "AbstractConnection", broker: BrokerSettings, listen_s: float = LISTEN_S
) -> BrokerState:
    """Look, and listen meanwhile to what daemons say. Raises one of `link.LOST`."""
    names = broker.names
    async with asyncio.TaskGroup() as tasks:
        words = tasks.create_task(collect_heartbeats(connection, names, listen_s))
        queues = tasks.create_task(layout.declared_queues(connection, names, broker.partitions))
        dead = tasks.create_task(dead_letters(connection, names))
        missing = tasks.create_task(find_missing_exchanges(connection, names))
    counted = queues.result(), words.result(), dead.result()
    return BrokerState(broker.namespace, broker.partitions, *counted, missing.result())


async def dead_letters(connection: "AbstractConnection", names: Names) -> int | None:
    """Count the dead letters; None: there is no queue of them. Raises one of `link.LOST`."""
    channel = await open_channel(connection, publisher_confirms=False)
    try:
        told = (await channel.declare_queue(names.dead_letters, passive=True)).declaration_result
    except ChannelNotFoundEntity:
        return None
    await channel.close()
    return told.message_count or 0


async def read_queues(connection: "AbstractConnection", queues: Iterable[str]) -> dict[str, bool]:
    """Find out which queues are there. One that belongs to another connection may not be asked, and so is there.

    Raises one of `link.LOST`.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def stands(queue: str) -> bool:
        async with gate:
            channel = await open_channel(connection, publisher_confirms=False)
            try:
                await channel.declare_queue(queue, passive=True)
            except ChannelNotFoundEntity:
                return False
            except ChannelLockedResource:
                return True
            await channel.close()
            return True

    wanted = sorted(set(queues))
    return dict(zip(wanted, await asyncio.gather(*map(stands, wanted)), strict=True))
