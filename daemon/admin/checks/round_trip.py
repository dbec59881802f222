"""Steps of a check through a running daemon, as any client would: a request, a renewal, a release, and what the public hears."""

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

_LIFETIME_S, _WAIT_S = 5, 8  # the wait outlasts what a check that was broken off has left
ASK_THE_DAEMON = "ask the daemon why: its log, and /readyz at daemon.http"


class RoundTrip:
    """One conversation with the daemon: `async with RoundTrip(connection, broker) as trip:`."""

    def __init__(self, connection: "AbstractConnection", broker: BrokerSettings) -> None:
        self._connection = connection
        self._names = broker.names
        self._partition = str(partition_of(CONVERSATION, broker.partitions))
        self._request_id = uuid.uuid4().hex
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Listen first. Raises one of `link.CONNECTION_ERRORS`."""
        self._channel = await open_channel(self._connection)
        self._reply_to = (await self._listening(self._answers)).name
        public = await self._listening(self._heard)
        await public.bind(self._names.events, f"*.{CONVERSATION}")
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(*CONNECTION_ERRORS):
            await self._channel.close()

    async def _listening(self, to: "asyncio.Queue[dict[str, Any]]") -> "AbstractQueue":
        async def hear(message: "AbstractIncomingMessage") -> None:
            told = json.loads(message.body)
            if told["request_id"] == self._request_id:
                to.put_nowait(told)

        queue = await self._channel.declare_queue(
            f"{self._names.namespace}.check.{uuid.uuid4().hex}", exclusive=True, auto_delete=True
        )
        await queue.consume(hear, no_ack=True)
        return queue

    async def granted(self) -> CheckResult:
        """Ask for a ticket and get it."""
        await self._say("request", lifetime=_LIFETIME_S, wait=_WAIT_S, holder=CONVERSATION)
        told = await self._answer("granted", passing=("queued",))
        return CheckResult("ok", f"ticket {told['ticket_number']} was granted")

    async def renewed(self) -> CheckResult:
        """Renew its lease."""
        await self._say("renew")
        await self._answer("renewed")
        return CheckResult("ok", "its lease was renewed")

    async def released(self) -> CheckResult:
        """Give it back."""
        await self._say("release")
        await self._answer("released")
        return CheckResult("ok", "it was given back")

    async def events(self) -> CheckResult:
        """Hear of it as everybody may."""
        heard = []
        while "released" not in heard:
            heard.append((await self._heard.get())["type"])
        return CheckResult("ok", f"{', '.join(heard)} were heard on {self._names.events}")

    async def _say(self, kind: str, **fields: Any) -> None:
        body = {"type": kind, "conversation_id": CONVERSATION, "request_id": self._request_id, **fields}
        exchange = await self._channel.get_exchange(self._names.requests, ensure=False)
        message = Message(json.dumps(body).encode(), delivery_mode=DeliveryMode.PERSISTENT, reply_to=self._reply_to)
        await exchange.publish(message, self._partition, mandatory=True)

    async def _answer(self, kind: str, passing: tuple[str, ...] = ()) -> dict[str, Any]:
        while (told := await self._answers.get())["type"] in passing:
            pass
        if told["type"] != kind:
            detail = told.get("detail") or told.get("reason") or ""
            raise Failure(f"the daemon answered {told['type']}, not {kind}: {detail}", ASK_THE_DAEMON)
        return told
