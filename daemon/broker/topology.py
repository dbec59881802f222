"""What stands on the broker: exchanges and queues, declared by the daemon. docs/protocol.md has the table."""

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
    """Declare everything, and give how many other daemons consume already.

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
    for partition in reversed(range(settings.partitions)):  # the first one last: `layout` says why
        queue = await channel.declare_queue(
            names.request_queue(partition),
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                # One daemon at a time works on a partition: that is what keeps its order.
                "x-single-active-consumer": True,
                "x-dead-letter-exchange": names.dead_letters,
                # A message that kills its daemon each time must end; one that sees many restarts must not.
                "x-delivery-limit": settings.delivery_limit,
            },
        )
        await queue.bind(requests, routing_key=str(partition))
        consumers = max(consumers, queue.declaration_result.consumer_count or 0)
    return consumers


async def find_missing_exchanges(connection: "AbstractConnection", names: Names) -> list[str]:
    """Give the exchanges that do not exist, of those that messages travel through. Raises one of `connection.CONNECTION_ERRORS`."""
    missing: list[str] = []
    channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
    for exchange in (names.requests, names.events, names.dead_letters):
        try:
            await channel.exchange_declare(exchange, passive=True)
        except (ChannelNotFoundEntity, ChannelAccessRefused) as error:  # which ends the channel
            if isinstance(error, ChannelNotFoundEntity):  # one that may not be asked for is taken to be there
                missing.append(exchange)
            channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
    await channel.close()
    return missing
