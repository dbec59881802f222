"""Checks of RabbitMQ: connection, version, permissions, queues, consumers."""

import uuid
from typing import TYPE_CHECKING, Any

from aio_pika import Message
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from daemon.admin.checks.runner import CheckResult, Failure
from daemon.broker import request_queues as layout
from daemon.broker.connection import address_of, is_blocked, open_channel, try_hosts
from daemon.broker.topology import find_missing_exchanges
from daemon.cluster.broker_state import BrokerState
from daemon.cluster.listening import collect_heartbeats
from daemon.config.settings import BrokerSettings, Settings
from daemon.serving.session import count_channels
from daemon.views.findings import check_daemons, check_dead_letters, check_exchanges, check_partitions
from lockstore.protocol.codec import BODY_MAX_BYTES

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

    from daemon.cluster.heartbeat import Heartbeat

__all__ = ["BrokerChecks", "check_hosts"]

_OLDEST = (3, 10)
_TAKES_S = 2.0  # of a connection: how long until RabbitMQ reports that it is blocked


class BrokerChecks:
    """The checks on one connection."""

    def __init__(self, settings: Settings, connection: "AbstractConnection") -> None:
        self._broker = broker = settings.broker
        self._channels = count_channels(settings)
        self._names = broker.names
        self._connection = connection
        self._way = address_of(broker)
        self.queues: dict[int, layout.Queue] = {}
        self.daemons: list[Heartbeat] = []

    async def server(self) -> CheckResult:
        """Check RabbitMQ's version and limits."""
        transport = self._connection.transport
        assert transport is not None  # noqa: S101 - it is connected
        properties: dict[str, Any] = dict(transport.connection.server_properties)
        tuned = transport.connection.connection_tune
        product, version, platform = (str(properties.get(name, "?")) for name in ("product", "version", "platform"))
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        said = f"{product} {version} on {platform}"
        if product == "RabbitMQ" and numbers < _OLDEST:
            raise Failure(said, "update RabbitMQ to 3.10 or newer: queues are quorum queues with one active consumer")
        if 0 < tuned.channel_max < self._channels:  # 0: no limit
            raise Failure(
                f"{said}; it allows {tuned.channel_max:,} channels per connection, and a daemon with "
                f"{self._broker.partitions:,} partitions opens up to {self._channels:,}",
                f"set channel_max in rabbitmq.conf to {self._channels} or more, or configure fewer partitions",
            )
        if product != "RabbitMQ":
            return CheckResult("warn", said, "lockstore is tested with RabbitMQ alone")
        return CheckResult("ok", said)

    async def rights(self) -> CheckResult:
        """Perform, on a temporary queue, what a daemon and a client do."""
        name = f"{self._names.namespace}.check.{uuid.uuid4().hex}"
        try:
            channel = await open_channel(self._connection)
            queue = await channel.declare_queue(name, exclusive=True, auto_delete=True)
            await channel.default_exchange.publish(Message(bytes(BODY_MAX_BYTES)), name)
            await queue.get(no_ack=True, fail=False)
            if await self._stands(self._names.requests):
                requests = await channel.get_exchange(self._names.requests, ensure=False)
                await requests.publish(Message(b"check"), name, mandatory=True)  # no queue matches, and it is returned
                await queue.bind(self._names.events, name)
            await queue.delete(if_unused=False, if_empty=False)
            await channel.close()
        except ChannelPreconditionFailed as error:
            raise Failure(
                str(error),
                f"set max_message_size in rabbitmq.conf to {BODY_MAX_BYTES} or more: requests may be as large",
            ) from error
        except ChannelAccessRefused as error:
            start = f"^{self._names.namespace.replace('.', '[.]')}[.]"
            raise Failure(
                str(error),
                f"rabbitmqctl set_permissions -p {self._way.vhost} {self._way.user} "
                f"'{start}' '{start}|^amq[.]default$' '{start}'",
            ) from error
        if await is_blocked(self._connection):
            raise Failure(
                "RabbitMQ takes no messages: it is short of memory or disk", "rabbitmq-diagnostics alarms; give it more"
            )
        return CheckResult("ok", f"{self._way.user} may declare, publish and consume under {self._names.namespace}")

    async def topology(self) -> CheckResult:
        """Compare the request queues with the configuration."""
        wanted = self._broker.partitions
        self.queues = await layout.declared_queues(self._connection, self._names, wanted)
        if not self.queues:
            return CheckResult.of(check_partitions(BrokerState(self._names.namespace, wanted, {}, [], None)), "")
        layout.check(self.queues, self._broker)
        if missing := sorted(set(range(wanted)) - self.queues.keys()):
            raise Failure(
                f"without a request queue: {_partitions(missing)}", "start a daemon anew: it declares what is missing"
            )
        missing_exchanges = await find_missing_exchanges(self._connection, self._names)
        well = f"queues and exchanges exist: {_partitions(sorted(self.queues))}, as configured"
        return CheckResult.of(check_exchanges(missing_exchanges), well)

    async def service(self) -> CheckResult:
        """Find running daemons, and waiting messages."""
        if not self.queues:
            return CheckResult("skip", "there is nothing to serve yet")
        self.daemons = await collect_heartbeats(self._connection, self._names)
        self.queues = await layout.queue_depths(self._connection, self._names, self.queues)
        state = BrokerState(self._names.namespace, self._broker.partitions, self.queues, self.daemons, None)
        waiting = sum(queue.messages for queue in self.queues.values())
        who = ", ".join(f"{word.host} (pid {word.pid})" for word in self.daemons) or "none"
        well = f"{who}; served: {_partitions(sorted(self.queues))}; waiting messages: {waiting:,}"
        return CheckResult.of([*check_partitions(state), *check_daemons(state)], well, f"daemons: {who}")

    async def dead_letters(self) -> CheckResult:
        """Count messages that could not be served."""
        count = await layout.dead_letters_or_none(self._connection, self._names)
        if count is None:
            return CheckResult("skip", "there is no queue of them yet")
        return CheckResult.of(check_dead_letters(count), "none")

    async def _stands(self, exchange: str) -> bool:
        channel = await open_channel(self._connection)
        try:
            await channel.get_exchange(exchange, ensure=True)
        except ChannelNotFoundEntity:
            return False
        await channel.close()
        return True


async def check_hosts(broker: BrokerSettings) -> CheckResult:
    """Connect to each host of broker.url."""
    results = await try_hosts(broker)
    faults = [str(fault) for fault in results.values() if fault is not None]
    said = f"{len(results) - len(faults)} of {len(results)} addresses can be connected to"
    if faults:
        return CheckResult("warn", f"{said}; {'; '.join(faults)}", "start it, or take it out of broker.url")
    return CheckResult("ok", f"{said}: {', '.join(sorted(results))}")


def _partitions(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers)) if len(numbers) < 9 else f"{numbers[0]} to {numbers[-1]}"  # noqa: PLR2004 - a line
    return f"partition{'' if len(numbers) == 1 else 's'} {named}"
