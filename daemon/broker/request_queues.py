"""Which request queues stand on the broker, whether they are those of the configuration, and who may change them.

A fresh broker gets its queues from the last down to the first. So where queue 0 stands, all have stood, and what a crash
left half-way is distinguished from a smaller number by its highest queue. The number is `broker.partitions`; RabbitMQ keeps no
other note of it.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelLockedResource

from daemon.broker.connection import CONNECTION_ERRORS, open_channel
from daemon.config.settings import BrokerSettings
from lockstore.errors import ConfigError
from lockstore.protocol.naming import Names
from lockstore.util.backoff import Backoff
from lockstore.util.cancellation import CancelRequest

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue

__all__ = [
    "Queue",
    "check",
    "count_dead_letters",
    "dead_letters_or_none",
    "declared_queues",
    "existing_queues",
    "number_of",
    "queue_depths",
    "topology_lock",
]

_FIRST_S, _MOST_S = 0.02, 0.5  # pauses between tries while another process holds the lock


@dataclass(frozen=True, slots=True)
class Queue:
    """What RabbitMQ tells of a request queue."""

    messages: int  # that are ready to be delivered
    consumers: int  # the active one, if there is any; those who stand by are not counted


@asynccontextmanager
async def topology_lock(connection: "AbstractConnection", names: Names) -> AsyncIterator[None]:
    """Keep others from looking at the queues and changing them, for as long as the context lasts.

    The lock is an exclusive queue: RabbitMQ lets one connection have it, and removes it when that connection ends. So two
    daemons that start at once on a fresh broker do so one after the other, and none starts in the middle of a
    repartition. Raises one of `link.CONNECTION_ERRORS`.
    """
    backoff = Backoff(_FIRST_S, _MOST_S)
    request = CancelRequest()
    lock = await _taken(connection, names)
    while lock is None:
        await asyncio.sleep(backoff.next_s())
        lock = await _taken(connection, names)
    try:
        yield
    finally:
        # Whoever is cancelled gives up the connection, and does not wait for a broker that hangs.
        if not request.is_made:
            with suppress(*CONNECTION_ERRORS):  # then the broker has removed it
                await lock.delete()
                await lock.channel.close()


async def _taken(connection: "AbstractConnection", names: Names) -> "AbstractQueue | None":
    channel = await open_channel(connection, publisher_confirms=False)
    try:
        return await channel.declare_queue(f"{names.namespace}.layout", exclusive=True)
    except ChannelLockedResource:
        return None


async def declared_queues(connection: "AbstractConnection", names: Names, at_least: int) -> dict[int, Queue]:
    """Find the request queues below `at_least`, and from there on as long as there are more.

    Raises one of `link.CONNECTION_ERRORS`.
    """
    found: dict[int, Queue] = {}
    channel = await open_channel(connection, publisher_confirms=False)
    for number in count():
        try:
            found[number] = await _look(channel, names, number)
        except ChannelNotFoundEntity:  # which ends the channel
            if number >= at_least:
                return found
            channel = await open_channel(connection, publisher_confirms=False)
    raise AssertionError  # pragma: no cover - the numbers do not end


async def queue_depths(connection: "AbstractConnection", names: Names, numbers: Iterable[int]) -> dict[int, Queue]:
    """Count in request queues that stand. Raises one of `link.CONNECTION_ERRORS`, also where one has gone."""
    channel = await open_channel(connection, publisher_confirms=False)
    found = {number: await _look(channel, names, number) for number in numbers}
    await channel.close()
    return found


async def existing_queues(connection: "AbstractConnection", names: Names, numbers: Iterable[int]) -> dict[int, Queue]:
    """Count the messages in those of these request queues that exist. Raises one of `connection.CONNECTION_ERRORS`."""
    found: dict[int, Queue] = {}
    channel = await open_channel(connection, publisher_confirms=False)
    for number in numbers:
        try:
            found[number] = await _look(channel, names, number)
        except ChannelNotFoundEntity:  # which ends the channel
            channel = await open_channel(connection, publisher_confirms=False)
    await channel.close()
    return found


async def count_dead_letters(connection: "AbstractConnection", names: Names) -> int:
    """Count the dead letters that are kept. Raises one of `link.CONNECTION_ERRORS`."""
    channel = await open_channel(connection, publisher_confirms=False)
    declared = (await channel.declare_queue(names.dead_letters, passive=True)).declaration_result
    await channel.close()
    return declared.message_count or 0


async def dead_letters_or_none(connection: "AbstractConnection", names: Names) -> int | None:
    """Count the dead letters; None: there is no queue of them. Raises one of `link.CONNECTION_ERRORS`."""
    try:
        return await count_dead_letters(connection, names)
    except ChannelNotFoundEntity:
        return None


async def _look(channel: "AbstractChannel", names: Names, number: int) -> Queue:
    declared = (await channel.declare_queue(names.request_queue(number), passive=True)).declaration_result
    return Queue(declared.message_count or 0, declared.consumer_count or 0)


def number_of(queues: Collection[int]) -> int:
    """Tell for how many partitions these queues were declared; 0: there are none."""
    return max(queues, default=-1) + 1


def check(queues: Collection[int], broker: BrokerSettings) -> None:
    """Raise ConfigError where queues of another number of partitions stand. One that is missing is no contradiction."""
    there = number_of(queues)
    if there not in (0, broker.partitions):
        raise ConfigError(
            f"broker.partitions: is {broker.partitions} here, but the namespace {broker.namespace!r} has {there} on the "
            f"broker; set it to {there}, or stop all daemons of this namespace and run: lockstore repartition"
        )
