"""Writing down what is published and heard, for harness.history to judge."""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from harness.history import ENDS, PUBLIC, Heard, History, Published
from tests.support.public import Public


class Recorder:
    """One history while it is made, and which of its requests are not over yet."""

    def __init__(self, apart: str | None = None) -> None:
        """Take how the conversations begin that belong to no history."""
        self._apart = apart
        self.open: set[tuple[str, str]] = set()
        self.requests = 0
        self.granted = 0
        self._published: list[Published] = []
        self._heard: list[Heard] = []
        self._gone: set[str] = set()

    @property
    def messages(self) -> tuple[int, int]:
        """Give how many were published, and how many heard."""
        return len(self._published), len(self._heard)

    def publishes(self, **fields: Any) -> int:
        """Note a message, at the moment when it is given to the channel; give the place of the note."""
        message = Published(sent_at=time.monotonic(), **fields)
        self._published.append(message)
        if message.kind == "request":
            self.requests += 1
            self.open.add((message.conversation, message.request_id or ""))
        return len(self._published) - 1

    def confirmed(self, note: int) -> None:
        """Note that the broker has it."""
        self._published[note] = replace(self._published[note], confirmed_at=time.monotonic())

    def loses(self, listener: str) -> None:
        """Note that this listener's queue is about to go."""
        self._gone.add(listener)

    def hears(self, listener: str, message: AbstractIncomingMessage) -> Heard:
        """Note a message that came."""
        heard = Heard(
            listener=listener,
            message_id=str(message.message_id),
            correlation=message.correlation_id,
            heard_at=time.monotonic(),
            body=json.loads(message.body, object_pairs_hook=_compact),
        )
        if self._apart is not None and heard.conversation.startswith(self._apart):
            return heard
        self._heard.append(heard)
        self.granted += heard.is_public and heard.kind == "granted"
        if heard.kind in ENDS or (heard.kind == "rejected" and heard.correlation == heard.request_id):
            self.open.discard((heard.conversation, heard.request_id or ""))
        return heard

    def history(self) -> History:
        """Give what is written down so far."""
        return History(tuple(self._published), tuple(self._heard), frozenset(self._gone))


class Follower(Public):
    """A third party that writes down every public event, as often as it comes."""

    def __init__(self, url: str, namespace: str, recorder: Recorder) -> None:
        super().__init__(url, namespace)
        self._recorder = recorder

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        self._recorder.hears(PUBLIC, message)
        await message.ack()


def _compact(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Keep one copy of each field's name: there are hundreds of thousands of messages."""
    return {sys.intern(name): value for name, value in pairs}
