"""Heartbeats between daemons: about once a second, each publishes its id and load to a fanout exchange.

Best effort and internal: messages are transient and unconfirmed, and unread ones expire. Heartbeats let daemons share the
load and operators see the daemons; order and safety depend on RabbitMQ and the lock store alone.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from aio_pika import ExchangeType
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from daemon.config.settings import PARTITIONS_MOST
from daemon.monitoring.cumulative import Counts
from daemon.monitoring.health import DETAIL_MOST
from lockstore.amqp.address import BROKER
from lockstore.amqp.errors import broker_errors

if TYPE_CHECKING:
    from lockstore.protocol.naming import Names

__all__ = ["DaemonIdentity", "Heartbeat", "HeartbeatChannel", "heartbeat_exchange"]

_QUEUE_MOST = 1000  # heartbeats; the oldest are dropped
_QUEUE_TTL_MS = 5000  # older ones do not describe the present


def heartbeat_exchange(names: "Names") -> str:
    """Return the name of the exchange for heartbeats."""
    return f"{names.namespace}.daemons"


@dataclass(frozen=True, slots=True)
class DaemonIdentity:
    """The identity of this process."""

    daemon: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started_at: float = field(default_factory=time.time)  # seconds since the Unix epoch, on this machine's clock


_TEXTS_MOST = 16

_Partition = Annotated[int, Field(ge=0, lt=PARTITIONS_MOST)]
_Texts = Annotated[list[Annotated[str, Field(max_length=DETAIL_MOST)]], Field(max_length=_TEXTS_MOST)]


class Heartbeat(BaseModel):
    """A daemon's heartbeat. Unknown fields of later versions are ignored.

    Anyone with write access to the broker can publish one, so values are bounded.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    daemon: Annotated[str, Field(max_length=64)]
    host: Annotated[str, Field(max_length=255)]
    pid: Annotated[int, Field(ge=0, lt=2**32)]
    started_at: Annotated[float, Field(ge=0)]
    active: dict[_Partition, Annotated[float, Field(ge=0, le=1e9)]]  # partition: messages per second
    busy: list[_Partition]  # those that count for the load balance
    stepping_back: list[_Partition] = []
    counts: Counts | None = None  # since its start; None: its version does not count
    reasons: _Texts = []  # why it is not ready
    notes: _Texts = []  # what it has noticed besides
    leaving: bool = False


class HeartbeatChannel:
    """Sends and receives heartbeats, on a channel of its own."""

    def __init__(self, channel: Channel, names: "Names", hear: Callable[[Heartbeat], None]) -> None:
        """`channel` must be without confirms. `hear` is called with every heartbeat, including this daemon's own."""
        self._channel = channel
        self._exchange = heartbeat_exchange(names)
        self._hear = hear

    async def open(self) -> None:
        """Start receiving, on a queue that is deleted with the connection."""
        await self._channel.exchange_declare(self._exchange, exchange_type=ExchangeType.FANOUT.value, durable=True)
        queue = f"{self._exchange}.{uuid.uuid4().hex}"
        await self._channel.queue_declare(
            queue,
            exclusive=True,
            auto_delete=True,
            arguments={"x-max-length": _QUEUE_MOST, "x-message-ttl": _QUEUE_TTL_MS},
        )
        await self._channel.queue_bind(queue, self._exchange)
        await self._channel.basic_consume(queue, self._on_message, no_ack=True)

    async def send(self, word: Heartbeat) -> None:
        """Publish a heartbeat. Raises BrokerLostError."""
        properties = Basic.Properties(content_type="application/json", delivery_mode=1)
        with broker_errors(BROKER, self._channel):
            await self._channel.basic_publish(
                word.model_dump_json().encode(), exchange=self._exchange, properties=properties, wait=False
            )

    async def _on_message(self, message: DeliveredMessage) -> None:
        try:
            word = Heartbeat.model_validate_json(message.body)
        except ValidationError:
            return  # sent by another version, or not by a daemon
        self._hear(word)
