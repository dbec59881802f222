"""Hints from other processes, by Redis' pub/sub. They may be lost; nobody relies on them."""

import asyncio
from collections.abc import Callable

from lockstore.stores.redis.connection import CONNECTION_ERRORS, RedisClient
from lockstore.stores.wakeups import Wakeups

__all__ = ["OUTBOX_HINT", "HintSubscription"]

OUTBOX_HINT = "outbox"
"""`outbox:<conversation id>`: a direct caller left events to announce. Else `<number>:<conversation id>`: its turn came."""

_AGAIN_S = 1.0  # pause before subscribing again after the connection for hints was lost; polling goes on meanwhile
_SILENCE_S = 10.0  # after which the server is asked whether it is still there
_CONFIRM_S = 1.0  # patience for a subscription to be confirmed


class HintSubscription:
    """A connection of its own on which Redis publishes hints; it is made when it is first wanted."""

    def __init__(
        self, servers: RedisClient, channel: str, wakeups: Wakeups, left_behind: Callable[[str], None]
    ) -> None:
        """Take who is to be woken, and who is told of a conversation whose events are left to announce."""
        self._servers = servers
        self._channel = channel
        self._wakeups = wakeups
        self._left_behind = left_behind
        self._confirmed = False
        self._waiting: set[asyncio.Event] = set()  # until it is confirmed
        self._reader: asyncio.Task[None] | None = None

    async def want(self) -> None:
        """Listen from now on, and wait a moment until that holds."""
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
        self._wakeups.wake_all()  # whatever was said while nobody listened

    def _pass_on(self, message: bytes) -> None:
        try:
            what, _, conversation_id = message.decode().partition(":")
            number = None if what == OUTBOX_HINT else int(what)
        except ValueError:
            return  # another program's: anybody may publish here
        if number is None:
            self._left_behind(conversation_id)
        else:
            self._wakeups.wake(conversation_id, number)

    async def close(self) -> None:
        """Stop listening."""
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
        """Pass hints on until the connection is lost. Raises one of LOST."""
        client = await self._servers.hints_client()
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=_SILENCE_S)
                if message is None:
                    if asked:
                        raise TimeoutError("nothing comes any more, not even an answer")
                    await pubsub.ping()  # the server may hang, or be gone without a word
                    asked = True
                    continue
                asked = False
                if message["type"] == "subscribe":
                    self._confirm()
                elif message["type"] == "message":
                    self._pass_on(message["data"])
