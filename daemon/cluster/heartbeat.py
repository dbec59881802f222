"""How daemons know of each other: each says on a fanout exchange, about every second, who it is and what keeps it busy.

Best effort, and internal: nothing is persistent or confirmed, and a queue that nobody reads forgets. What is said lets
daemons share the load and operators see them; order and safety rest on RabbitMQ and the lock store alone.
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
from lockstore.amqp.errors import BROKER, broker_errors

if TYPE_CHECKING:
    from lockstore.protocol.naming import Names

__all__ = ["DaemonIdentity", "Heartbeat", "HeartbeatChannel", "heartbeat_exchange"]

_QUEUE_MOST = 1000  # words; the oldest go first
_QUEUE_TTL_MS = 5000  # what is older says nothing of the present


def heartbeat_exchange(names: "Names") -> str:
    """Name the exchange on which daemons speak."""
    return f"{names.namespace}.daemons"


@dataclass(frozen=True, slots=True)
class DaemonIdentity:
    """Who this process is."""

    daemon: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started_at: float = field(default_factory=time.time)  # seconds since the Unix epoch, on this machine's clock


_Partition = Annotated[int, Field(ge=0, lt=PARTITIONS_MOST)]


class Heartbeat(BaseModel):
    """One word of a daemon's. Later versions may say more, so what is not known is passed over.

    Whoever may publish on the broker can say anything; what is out of all bounds is nobody's word.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    daemon: Annotated[str, Field(max_length=64)]
    host: Annotated[str, Field(max_length=255)]
    pid: Annotated[int, Field(ge=0, lt=2**32)]
    started_at: Annotated[float, Field(ge=0)]
    active: dict[_Partition, Annotated[float, Field(ge=0, le=1e9)]]  # partition: messages per second
    busy: list[_Partition]  # those of them that count when the load is shared
    stepping_back: list[_Partition] = []
    counts: Counts | None = None  # since its start; None: a version that does not count
    leaving: bool = False


class HeartbeatChannel:
    """Says and hears, on a channel of its own."""

    def __init__(self, channel: Channel, names: "Names", hear: Callable[[Heartbeat], None]) -> None:
        """Take a channel without confirms. `hear` is called with every word, this daemon's own included."""
        self._channel = channel
        self._exchange = heartbeat_exchange(names)
        self._hear = hear

    async def open(self) -> None:
        """Begin to hear, on a queue that ends with the connection."""
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
        """Tell all. Raises BrokerLostError."""
        properties = Basic.Properties(content_type="application/json", delivery_mode=1)
        with broker_errors(BROKER, self._channel):
            await self._channel.basic_publish(
                word.model_dump_json().encode(), exchange=self._exchange, properties=properties, wait=False
            )

    async def _on_message(self, message: DeliveredMessage) -> None:
        try:
            word = Heartbeat.model_validate_json(message.body)
        except ValidationError:
            return  # of another version, or not a daemon's: it says nothing to us
        self._hear(word)
