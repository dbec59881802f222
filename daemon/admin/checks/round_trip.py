"""Checks of a running daemon with a client's requests: request, renewal, release, and the public events."""

import asyncio
import json
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from aio_pika import Message
from aio_pika.abc import DeliveryMode

from daemon.admin.checks.runner import CheckResult, Failure
from daemon.admin.checks.store import CONVERSATION
from daemon.broker.connection import CONNECTION_ERRORS, open_channel
from daemon.config.settings import BrokerSettings
from lockstore.protocol.naming import partition_of

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, AbstractQueue

__all__ = ["ASK_THE_DAEMON", "RoundTrip"]

_LIFETIME_S, _WAIT_S = 5, 8  # the wait outlasts the lease of a check that was interrupted
ASK_THE_DAEMON = "see the daemon's log, and /readyz at daemon.http"


class RoundTrip:
    """An exchange of messages with a daemon: `async with RoundTrip(connection, broker) as trip:`."""

    def __init__(self, connection: "AbstractConnection", broker: BrokerSettings) -> None:
        self._connection = connection
        self._names = broker.names
        self._partition = str(partition_of(CONVERSATION, broker.partitions))
        self._request_id = uuid.uuid4().hex
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Subscribe. Raises one of CONNECTION_ERRORS."""
        self._channel = await open_channel(self._connection)
        self._reply_to = (await self._subscribe(self._answers)).name
        public = await self._subscribe(self._events)
        await public.bind(self._names.events, f"*.{CONVERSATION}")
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(*CONNECTION_ERRORS):
            await self._channel.close()

    async def _subscribe(self, to: "asyncio.Queue[dict[str, Any]]") -> "AbstractQueue":
        async def on_message(message: "AbstractIncomingMessage") -> None:
            answer = json.loads(message.body)
            if answer["request_id"] == self._request_id:
                to.put_nowait(answer)

        queue = await self._channel.declare_queue(
            f"{self._names.namespace}.check.{uuid.uuid4().hex}", exclusive=True, auto_delete=True
        )
        await queue.consume(on_message, no_ack=True)
        return queue

    async def granted(self) -> CheckResult:
        """Request a ticket, and expect its grant."""
        await self._publish("request", lifetime=_LIFETIME_S, wait=_WAIT_S, holder=CONVERSATION)
        answer = await self._receive("granted", passing=("queued",))
        return CheckResult("ok", f"ticket {answer['ticket_number']} was granted")

    async def renewed(self) -> CheckResult:
        """Renew the lease."""
        await self._publish("renew")
        await self._receive("renewed")
        return CheckResult("ok", "its lease was renewed")

    async def released(self) -> CheckResult:
        """Release the lease."""
        await self._publish("release")
        await self._receive("released")
        return CheckResult("ok", "the lease was released")

    async def events(self) -> CheckResult:
        """Expect the public events."""
        received = []
        while "released" not in received:
            received.append((await self._events.get())["type"])
        return CheckResult("ok", f"{', '.join(received)} were received from {self._names.events}")

    async def _publish(self, kind: str, **fields: Any) -> None:
        body = {"type": kind, "conversation_id": CONVERSATION, "request_id": self._request_id, **fields}
        exchange = await self._channel.get_exchange(self._names.requests, ensure=False)
        message = Message(json.dumps(body).encode(), delivery_mode=DeliveryMode.PERSISTENT, reply_to=self._reply_to)
        await exchange.publish(message, self._partition, mandatory=True)

    async def _receive(self, kind: str, passing: tuple[str, ...] = ()) -> dict[str, Any]:
        while (answer := await self._answers.get())["type"] in passing:
            pass
        if answer["type"] != kind:
            detail = answer.get("detail") or answer.get("reason") or ""
            raise Failure(f"the daemon answered {answer['type']}, not {kind}: {detail}", ASK_THE_DAEMON)
        return answer
