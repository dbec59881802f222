"""Lock stores as a user writes them: nothing but a place to keep text in."""

import asyncio
import json
from typing import Any

from lockstore import LockStore, TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.custom import EndpointConfig

SERVERS: dict[str, dict[str, str]] = {}
"""What would be database servers: address -> conversation id -> `lock.dumps()`."""


class DictLockStore(LockStore):
    """Written for Rasa: synchronous methods, and a constructor that takes the section as an EndpointConfig."""

    def __init__(self, endpoint_config: EndpointConfig) -> None:
        self.colour = endpoint_config.kwargs.get("colour")
        self.server = SERVERS.setdefault(endpoint_config.url or "", {})
        super().__init__()

    def get_lock(self, conversation_id: str) -> TicketLock | None:
        serialized = self.server.get(conversation_id)
        return TicketLock.from_dict(json.loads(serialized)) if serialized else None

    def save_lock(self, lock: TicketLock) -> None:
        self.server[lock.conversation_id] = lock.dumps()

    def delete_lock(self, conversation_id: str) -> None:
        self.server.pop(conversation_id, None)


class AsyncDictLockStore(LockStore):
    """Written for asyncio: every method gives way to others, and the constructor takes plain keywords."""

    def __init__(self, url: str, fails_on: str = "") -> None:
        self.server = SERVERS.setdefault(url, {})
        self.fails_on = fails_on

    async def get_lock(self, conversation_id: str) -> TicketLock | None:
        await asyncio.sleep(0)
        if conversation_id == self.fails_on:
            raise ConversationError("this one is broken")
        serialized = self.server.get(conversation_id)
        return TicketLock.from_dict(json.loads(serialized)) if serialized else None

    async def save_lock(self, lock: TicketLock) -> None:
        await asyncio.sleep(0)
        self.server[lock.conversation_id] = lock.dumps()

    async def delete_lock(self, conversation_id: str) -> None:
        await asyncio.sleep(0)
        self.server.pop(conversation_id, None)


class Forgetful(LockStore):
    """Lacks what a store must have."""

    def get_lock(self, conversation_id: str) -> TicketLock | None:
        return None


class Picky(DictLockStore):
    """Takes no keys at all."""

    def __init__(self) -> None:
        super().__init__(EndpointConfig())


class Broken(DictLockStore):
    """Fails in its constructor."""

    def __init__(self, **options: Any) -> None:
        raise RuntimeError("no route to the database")


NOT_A_CLASS = 5
