"""The exchanges and queues on the broker, as the daemon declares them. docs/protocol.md has the table."""

from typing import TYPE_CHECKING

from aio_pika import ExchangeType
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from daemon.broker.connection import open_channel, underlying_channel
from daemon.config.settings import BrokerSettings
from lockstore.errors import ConfigError
from lockstore.protocol.naming import Names

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection

__all__ = ["declare", "find_missing_exchanges"]


async def declare(channel: "AbstractChannel", settings: BrokerSettings) -> int:
    """Declare everything, and return how many other daemons are consuming.

    Whatever stands there must be the same. Raises ConfigError where it is not.
    """
    try:
        return await _declare(channel, settings)
    except ChannelPreconditionFailed as error:
        message = (
            f"broker: what stands on the broker under {settings.namespace!r} was declared with other settings ({error}); "
            "use another broker.namespace, or read what is in that queue, delete it (rabbitmqctl delete_queue NAME), and "
            "start again: the daemon declares it anew"
        )
        raise ConfigError(message) from None


async def _declare(channel: "AbstractChannel", settings: BrokerSettings) -> int:
    names = settings.names
    dead_letters = await channel.declare_exchange(names.dead_letters, ExchangeType.FANOUT, durable=True)
    graveyard = await channel.declare_queue(
        names.dead_letters,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-max-length": settings.dead_letters,
            "x-max-length-bytes": settings.dead_letters_bytes,
        },
    )
    await graveyard.bind(dead_letters)
    await channel.declare_exchange(names.events, ExchangeType.TOPIC, durable=True)
    requests = await channel.declare_exchange(names.requests, ExchangeType.DIRECT, durable=True)
    consumers = 0
    for partition in reversed(range(settings.partitions)):  # the first one last, see `request_queues`
        queue = await channel.declare_queue(
            names.request_queue(partition),
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                # Only one daemon at a time consumes a partition, which keeps its order.
                "x-single-active-consumer": True,
                "x-dead-letter-exchange": names.dead_letters,
                # A message that kills its daemon each time must be parked; one that survives many restarts must not.
                "x-delivery-limit": settings.delivery_limit,
            },
        )
        await queue.bind(requests, routing_key=str(partition))
        consumers = max(consumers, queue.declaration_result.consumer_count or 0)
    return consumers


async def find_missing_exchanges(connection: "AbstractConnection", names: Names) -> list[str]:
    """Return those of the exchanges for messages that do not exist. Raises one of `connection.CONNECTION_ERRORS`."""
    missing: list[str] = []
    channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
    for exchange in (names.requests, names.events, names.dead_letters):
        try:
            await channel.exchange_declare(exchange, passive=True)
        except (ChannelNotFoundEntity, ChannelAccessRefused) as error:  # which ends the channel
            if isinstance(error, ChannelNotFoundEntity):  # one that we have no permission to check is assumed to exist
                missing.append(exchange)
            channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
    await channel.close()
    return missing
