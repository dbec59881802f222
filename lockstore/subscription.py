"""Hints from other processes, by Redis' pub/sub. They may be lost; nobody relies on them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from lockstore.hints import Wakeups
from lockstore.servers import LOST, Servers

__all__ = ["OUTBOX_HINT", "Subscription"]

OUTBOX_HINT = "outbox"
"""`outbox:<conversation id>`: a direct caller left events to announce. Else `<number>:<conversation id>`: its turn came."""

_AGAIN_S = 1.0  # pause before subscribing again after the connection for hints was lost; polling goes on meanwhile
_SILENCE_S = 10.0  # after which the server is asked whether it is still there
_CONFIRM_S = 1.0  # patience for a subscription to be confirmed


class Subscription:
    """A connection of its own on which Redis publishes hints; it is made when it is first wanted."""

    def __init__(self, servers: Servers, channel: str, wakeups: Wakeups, left_behind: Callable[[str], None]) -> None:
        """Take who is to be woken, and who is told of a conversation whose events are left to announce."""
        self._servers = servers
        self._channel = channel
        self._wakeups = wakeups
        self._left_behind = left_behind
        self._confirmed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def want(self) -> None:
        """Listen from now on, and wait a moment until that holds."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._confirmed.wait(), _CONFIRM_S)

    def _pass_on(self, hint: str) -> None:
        what, _, conversation_id = hint.partition(":")
        if what == OUTBOX_HINT:
            self._left_behind(conversation_id)
        else:
            self._wakeups.wake(conversation_id, int(what))

    async def close(self) -> None:
        """Stop listening."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._servers.reauthenticate_s):
                    await self._listen()
            except LOST:
                self._confirmed.clear()
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
                    self._confirmed.set()
                    self._wakeups.wake_all()  # whatever was said while nobody listened
                elif message["type"] == "message":
                    self._pass_on(message["data"].decode())
