"""Which request queues exist on the broker, whether they match the configuration, and who may change them.

Queues are declared from the last down to the first. So if queue 0 exists, all of them have existed, and the highest queue
distinguishes an interrupted declaration from a smaller number. The number is `broker.partitions`; RabbitMQ has no other
record of it.
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

_FIRST_S, _MOST_S = 0.02, 0.5  # retry delays while another process holds the lock


@dataclass(frozen=True, slots=True)
class Queue:
    """What RabbitMQ reports about a request queue."""

    messages: int  # ready to be delivered
    consumers: int  # the active one, if any; consumers on standby are not counted


@asynccontextmanager
async def topology_lock(connection: "AbstractConnection", names: Names) -> AsyncIterator[None]:
    """Prevent other processes from checking and changing the queues while the context lasts.

    The lock is an exclusive queue, which one connection can own, and which RabbitMQ deletes when that connection ends. So
    two daemons that start at the same time on a fresh broker declare one after the other, and none starts in the middle of
    a repartition. Raises one of `connection.CONNECTION_ERRORS`.
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
        # A cancelled task gives up the connection, and must not wait for a broker that hangs.
        if not request.is_made:
            with suppress(*CONNECTION_ERRORS):  # the broker has deleted it already
                await lock.delete()
                await lock.channel.close()


async def _taken(connection: "AbstractConnection", names: Names) -> "AbstractQueue | None":
    channel = await open_channel(connection, publisher_confirms=False)
    try:
        return await channel.declare_queue(f"{names.namespace}.layout", exclusive=True)
    except ChannelLockedResource:
        return None


async def declared_queues(connection: "AbstractConnection", names: Names, at_least: int) -> dict[int, Queue]:
    """Return the request queues below `at_least`, and those above it, up to the first gap.

    Raises one of `connection.CONNECTION_ERRORS`.
    """
    found: dict[int, Queue] = {}
    channel = await open_channel(connection, publisher_confirms=False)
    for number in count():
        try:
            found[number] = await _look(channel, names, number)
        except ChannelNotFoundEntity:  # this closes the channel
            if number >= at_least:
                return found
            channel = await open_channel(connection, publisher_confirms=False)
    raise AssertionError  # pragma: no cover - `count` never ends


async def queue_depths(connection: "AbstractConnection", names: Names, numbers: Iterable[int]) -> dict[int, Queue]:
    """Count the messages of existing request queues. Raises one of `connection.CONNECTION_ERRORS`, also if a queue is missing."""
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
        except ChannelNotFoundEntity:  # this closes the channel
            channel = await open_channel(connection, publisher_confirms=False)
    await channel.close()
    return found


async def count_dead_letters(connection: "AbstractConnection", names: Names) -> int:
    """Count the retained dead letters. Raises one of `connection.CONNECTION_ERRORS`."""
    channel = await open_channel(connection, publisher_confirms=False)
    declared = (await channel.declare_queue(names.dead_letters, passive=True)).declaration_result
    await channel.close()
    return declared.message_count or 0


async def dead_letters_or_none(connection: "AbstractConnection", names: Names) -> int | None:
    """Count the dead letters, or return None if their queue does not exist. Raises one of `connection.CONNECTION_ERRORS`."""
    try:
        return await count_dead_letters(connection, names)
    except ChannelNotFoundEntity:
        return None


async def _look(channel: "AbstractChannel", names: Names, number: int) -> Queue:
    declared = (await channel.declare_queue(names.request_queue(number), passive=True)).declaration_result
    return Queue(declared.message_count or 0, declared.consumer_count or 0)


def number_of(queues: Collection[int]) -> int:
    """Return for how many partitions these queues were declared; 0 if there are none."""
    return max(queues, default=-1) + 1


def check(queues: Collection[int], broker: BrokerSettings) -> None:
    """Raise ConfigError if the queues of another number of partitions exist. A missing queue is not an error."""
    there = number_of(queues)
    if there not in (0, broker.partitions):
        raise ConfigError(
            f"broker.partitions: is {broker.partitions} here, but the namespace {broker.namespace!r} has {there} on the "
            f"broker; set it to {there}, or stop all daemons of this namespace and run: lockstore repartition"
        )
