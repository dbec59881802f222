"""Broker state: which queues and exchanges exist, who consumes, how many messages wait. Reads only; changes nothing."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelLockedResource

from daemon.broker import request_queues as layout
from daemon.broker.connection import open_channel
from daemon.broker.topology import find_missing_exchanges
from daemon.cluster.listening import LISTEN_S, collect_heartbeats
from daemon.config.settings import BrokerSettings
from lockstore.util.task_group import TaskGroup

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

    from daemon.cluster.heartbeat import Heartbeat

__all__ = ["BrokerState", "observe_broker_state", "read_broker_state", "read_queues"]


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What exists on the broker under one namespace."""

    namespace: str
    partitions: int  # as configured
    queues: dict[int, layout.Queue]
    daemons: "Sequence[Heartbeat]"
    dead_letters: int | None  # None: there is no queue of them
    missing_exchanges: Sequence[str] = ()
    node: str = ""
    """Host and port of the node that was asked."""

    @property
    def number(self) -> int:
        """For how many partitions queues were declared."""
        return layout.number_of(self.queues)

    @property
    def is_served(self) -> bool:
        """Whether any of the queues has a consumer."""
        return any(queue.consumers for queue in self.queues.values())


async def read_broker_state(
    connection: "AbstractConnection", broker: BrokerSettings, listen_s: float = LISTEN_S
) -> BrokerState:
    """Read the state, and collect heartbeats meanwhile. Raises one of `connection.CONNECTION_ERRORS`."""
    names = broker.names
    async with TaskGroup() as tasks:
        words = tasks.create_task(collect_heartbeats(connection, names, listen_s))
        queues = tasks.create_task(layout.declared_queues(connection, names, broker.partitions))
        dead = tasks.create_task(layout.dead_letters_or_none(connection, names))
        missing = tasks.create_task(find_missing_exchanges(connection, names))
    counted = queues.result(), words.result(), dead.result()
    return BrokerState(broker.namespace, broker.partitions, *counted, missing.result())


async def observe_broker_state(
    connection: "AbstractConnection", broker: BrokerSettings, daemons: "Sequence[Heartbeat]"
) -> BrokerState:
    """Read the state for a running daemon: on one channel at a time, with the heartbeats that it has already received.

    There is no search for queues beyond `broker.partitions`: a daemon does not serve where there are any. Raises as
    `read_broker_state`.
    """
    queues = await layout.existing_queues(connection, broker.names, range(broker.partitions))
    dead = await layout.dead_letters_or_none(connection, broker.names)
    missing = await find_missing_exchanges(connection, broker.names)
    return BrokerState(broker.namespace, broker.partitions, queues, daemons, dead, missing)


async def read_queues(connection: "AbstractConnection", queues: Iterable[str], at_once: int = 8) -> dict[str, bool]:
    """Return which queues exist, checking on this many channels at once. An exclusive queue of another connection exists.

    Raises one of `connection.CONNECTION_ERRORS`.
    """
    wanted = sorted(set(queues))
    found: dict[str, bool] = {}

    async def read(some: Sequence[str]) -> None:
        channel = await open_channel(connection, publisher_confirms=False)
        for queue in some:
            try:
                await channel.declare_queue(queue, passive=True)
                found[queue] = True
                continue
            except ChannelNotFoundEntity:
                found[queue] = False
            except ChannelLockedResource:
                found[queue] = True
            channel = await open_channel(connection, publisher_confirms=False)  # the answer has ended the last one
        await channel.close()

    await asyncio.gather(*(read(some) for start in range(at_once) if (some := wanted[start::at_once])))
    return found
