"""Wake-up hints from other processes through Redis pub/sub. Hints may be lost; correctness never depends on them."""

import asyncio
from collections.abc import Callable

from lockstore.stores.redis.connection.client import RedisClient
from lockstore.stores.redis.connection.errors import CONNECTION_ERRORS
from lockstore.stores.wakeups import Wakeups

__all__ = ["OUTBOX_HINT", "HintSubscription"]

OUTBOX_HINT = "outbox"
"""`outbox:<conversation id>`: a direct caller left events to publish. `<number>:<conversation id>`: this ticket's turn came."""

_AGAIN_S = 1.0  # delay before resubscribing after the connection was lost; polling continues meanwhile
_SILENCE_S = 10.0  # idle time after which the connection is checked with a PING
_CONFIRM_S = 1.0  # how long a caller waits for the subscription to be confirmed


class HintSubscription:
    """A dedicated connection that receives hints. It is opened on first use."""

    def __init__(
        self, servers: RedisClient, channel: str, wakeups: Wakeups, left_behind: Callable[[str], None]
    ) -> None:
        """`left_behind` is called with the id of a conversation that has events to publish."""
        self._servers = servers
        self._channel = channel
        self._wakeups = wakeups
        self._left_behind = left_behind
        self._confirmed = False
        self._waiting: set[asyncio.Event] = set()  # callers waiting for the confirmation
        self._reader: asyncio.Task[None] | None = None

    async def want(self) -> None:
        """Subscribe if necessary, and wait briefly for the confirmation."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        if self._confirmed:
            return
        moment = asyncio.Event()
        self._waiting.add(moment)
        timer = asyncio.get_running_loop().call_later(_CONFIRM_S, moment.set)
        try:
            await moment.wait()
        finally:
            timer.cancel()
            self._waiting.discard(moment)

    def _confirm(self) -> None:
        self._confirmed = True
        for moment in self._waiting:
            moment.set()
        self._wakeups.wake_all()  # hints may have been missed before the subscription

    def _pass_on(self, message: bytes) -> None:
        try:
            what, _, conversation_id = message.decode().partition(":")
            number = None if what == OUTBOX_HINT else int(what)
        except ValueError:
            return  # published by another program
        if number is None:
            self._left_behind(conversation_id)
        else:
            self._wakeups.wake(conversation_id, number)

    async def close(self) -> None:
        """Unsubscribe."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
            self._confirmed = False

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._servers.reauthenticate_s):
                    await self._listen()
            except CONNECTION_ERRORS:
                self._confirmed = False
                await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        """Forward hints until the connection is lost. Raises one of CONNECTION_ERRORS."""
        client = await self._servers.hints_client()
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=_SILENCE_S)
                if message is None:
                    if asked:
                        raise TimeoutError("the subscription's connection no longer answers")
                    await pubsub.ping()  # the server may hang or have disappeared silently
                    asked = True
                    continue
                asked = False
                if message["type"] == "subscribe":
                    self._confirm()
                elif message["type"] == "message":
                    self._pass_on(message["data"])
