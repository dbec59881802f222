"""The two Redis stores in a Rasa server's own process, without a daemon."""

import json
import os
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING, Any, ClassVar

from lockstore.errors import ConfigError
from lockstore.rasa.log import logger, show_under_rasa
from lockstore.rasa.rasa_classes import LockErrors, lock_store_base, rasa_lock_error
from lockstore.rasa.sections import RASAS_LIFETIME_S, direct_section, lifetime_of
from lockstore.rasa.sender_ids import conversation_id_of
from lockstore.rasa.shared import close_all, in_use

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lockstore.core.ticket import TicketLock
    from lockstore.stores.base import LockStore

    RasaLockStore = object
else:
    RasaLockStore = lock_store_base()

__all__ = ["ConcurrentRedisLockStore", "RedisLockStore"]

_OLDEST_REDIS_PY = (8, 1)


class _DirectStore(RasaLockStore):
    """Holds locks in Redis. The first message connects. Raises ConfigError for a section that cannot be."""

    _kind: ClassVar[str]  # our own type of store

    def __init__(self, endpoint_config: Any) -> None:
        name = f"lockstore.rasa.{type(self).__name__}"
        self._lock_error = rasa_lock_error(name)
        self._section = direct_section(endpoint_config, self._kind)
        self._lifetime = lifetime_of(os.environ) or RASAS_LIFETIME_S
        show_under_rasa()
        _check_installed(name)
        self._create()  # checks the section
        logger.info("locks are taken in Redis, in the format of the lock store %s", self._kind)

    @asynccontextmanager
    async def lock(
        self, conversation_id: str, lock_lifetime: float | None = None, wait_time_in_seconds: float = 1
    ) -> "AsyncIterator[TicketLock]":
        """Hold a conversation's lock during the body. Raises Rasa's LockError if it is not obtained.

        `lock_lifetime`: seconds from now after which the ticket ends, held or not; None: `TICKET_LOCK_LIFETIME`, or 60.
        """
        lifetime = self._lifetime if lock_lifetime is None else lock_lifetime
        errors = LockErrors(self._lock_error, conversation_id)
        with errors.translated():
            async with (
                in_use(self._key, self._create) as store,
                store.lock(self._line_of(conversation_id), lifetime, wait_time_in_seconds) as lock,
            ):
                with errors.of_body():
                    yield lock

    async def close(self) -> None:
        """Wait for the locks of this event loop, and close its connections. Only needed where no Sanic server runs."""
        await close_all()

    # --- Rasa's other names, async because they ask Redis -------------------------------------------------------------

    async def get_lock(self, conversation_id: str) -> "TicketLock | None":
        """Return the line of a conversation, or None if it is empty."""
        from lockstore.stores.maybe_async import call_maybe_async  # noqa: PLC0415 - as in `_create`

        async with in_use(self._key, self._create) as store:
            lock: TicketLock | None = await call_maybe_async(store.get_lock, self._line_of(conversation_id))
            return lock

    async def is_someone_waiting(self, conversation_id: str) -> bool:
        """Return whether the line has any ticket, including the holder's."""
        async with in_use(self._key, self._create) as store:
            return await store.is_someone_waiting(self._line_of(conversation_id))

    async def issue_ticket(self, conversation_id: str, lock_lifetime: float | None = None) -> int:
        """Append a ticket to the line, and return its number."""
        async with in_use(self._key, self._create) as store:
            lifetime = self._lifetime if lock_lifetime is None else lock_lifetime
            return await store.issue_ticket(self._line_of(conversation_id), lifetime)

    async def finish_serving(self, conversation_id: str, ticket_number: int) -> None:
        """Remove a ticket from the line."""
        async with in_use(self._key, self._create) as store:
            await store.finish_serving(self._line_of(conversation_id), ticket_number)

    async def cleanup(self, conversation_id: str, ticket_number: int) -> None:
        """Remove a ticket, and what its line no longer needs."""
        async with in_use(self._key, self._create) as store:
            await store.cleanup(self._line_of(conversation_id), ticket_number)

    @property
    def _key(self) -> tuple[str, str]:
        return self._kind, json.dumps(self._section, sort_keys=True, default=str)

    def _create(self) -> "LockStore":
        from lockstore.core.rules import Limits  # noqa: PLC0415 - needs what a bot with QueueLockStore does not have
        from lockstore.factory import create_store  # noqa: PLC0415 - likewise

        return create_store(self._section, Limits(), os.environ)

    def _line_of(self, conversation_id: str) -> str:
        return conversation_id_of(conversation_id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ConcurrentRedisLockStore(_DirectStore):
    """In `endpoints.yml`: `type: lockstore.rasa.ConcurrentRedisLockStore`, with the options of `concurrent_redis`."""

    _kind = "concurrent_redis"


class RedisLockStore(_DirectStore):
    """In `endpoints.yml`: `type: lockstore.rasa.RedisLockStore`, with the options of `redis`: Rasa's own keys and values."""

    _kind = "redis"

    def _line_of(self, conversation_id: str) -> str:
        """Return the sender id itself, as Rasa's own lock store does, unless Redis cannot have it in a key."""
        try:
            conversation_id.encode()
        except UnicodeEncodeError:
            return conversation_id_of(conversation_id)
        return conversation_id


def _check_installed(name: str) -> None:
    """Raise ConfigError where the Redis stores cannot run, which is beside every Rasa that pins an older redis-py."""
    try:
        found = version("redis")
    except PackageNotFoundError:
        found = "none"
    parts = [int(part) for part in found.split(".")[:2] if part.isdigit()]
    python = tuple(map(int, python_version().split(".")[:2]))
    if tuple(parts) < _OLDEST_REDIS_PY or python < (3, 11):
        raise ConfigError(
            f"lock_store.type: {name} needs Python 3.11 and redis-py 8.1 or newer (the extra lockstore[redis]), and finds"
            f" Python {python_version()} and redis-py {found}: lockstore.rasa.QueueLockStore needs neither"
        )
