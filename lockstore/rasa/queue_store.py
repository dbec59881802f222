"""`QueueLockStore`: a Rasa server takes its locks through the daemon."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from lockstore.client.client import LockClient
from lockstore.errors import ConfigError
from lockstore.rasa.held_lock import HeldLock
from lockstore.rasa.log import logger, show_under_rasa
from lockstore.rasa.rasa_classes import LockErrors, lock_store_base, rasa_lock_error
from lockstore.rasa.sections import queue_options
from lockstore.rasa.sender_ids import conversation_id_of
from lockstore.rasa.shared import close_all, in_use

__all__ = ["QueueLockStore"]

if TYPE_CHECKING:
    RasaLockStore = object
else:
    RasaLockStore = lock_store_base()


class QueueLockStore(RasaLockStore):
    """In `endpoints.yml`: `type: lockstore.rasa.QueueLockStore`, with `url`; docs/rasa.md has the other options.

    The first message connects. Raises ConfigError for a section that cannot be, or without Rasa.
    """

    def __init__(self, endpoint_config: Any) -> None:
        self._lock_error = rasa_lock_error("lockstore.rasa.QueueLockStore")
        self._options = options = queue_options(endpoint_config, os.environ)
        show_under_rasa()
        try:
            client = LockClient(**options.for_client)
        except ConfigError as error:
            raise ConfigError(f"lock_store.{error}") from None
        logger.info("locks are taken through the lockstore daemon: %r", client)

    @asynccontextmanager
    async def lock(
        self,
        conversation_id: str,
        lock_lifetime: float | None = None,
        wait_time_in_seconds: float | None = None,  # noqa: ARG002 - Rasa's polling interval; a grant needs none
    ) -> AsyncIterator[HeldLock]:
        """Hold a conversation's lock during the body. Raises Rasa's LockError if it is not obtained, or is lost.

        `lock_lifetime`: seconds of the lease, which is renewed; None: the section's `lifetime`, `TICKET_LOCK_LIFETIME` or
        the daemon's default. How long a call waits is the section's `wait`, or the daemon's default.
        """
        options = self._options
        lifetime = options.lifetime if lock_lifetime is None else lock_lifetime
        errors = LockErrors(self._lock_error, conversation_id)
        with errors.translated():
            async with (
                in_use(_key(options.for_client), lambda: LockClient(**options.for_client)) as client,
                client.lock(
                    conversation_id_of(conversation_id), wait=options.wait, lifetime=lifetime, holder=options.holder
                ) as ticket,
            ):
                logger.debug("ticket %d holds the lock of conversation '%s'", ticket.number, conversation_id)
                with errors.of_body():
                    yield HeldLock(conversation_id, ticket)

    async def close(self) -> None:
        """Wait for the locks of this event loop, and close its connections. Only needed where no Sanic server runs."""
        await close_all()

    def get_lock(self, conversation_id: str) -> NoReturn:
        """Raise NotImplementedError: the lines are in the daemon's store."""
        raise NotImplementedError(_LOCK_ONLY.format(conversation_id))

    def save_lock(self, lock: Any) -> NoReturn:
        """Raise NotImplementedError: the lines are in the daemon's store."""
        raise NotImplementedError(_LOCK_ONLY.format(lock))

    def delete_lock(self, conversation_id: str) -> NoReturn:
        """Raise NotImplementedError: the lines are in the daemon's store."""
        raise NotImplementedError(_LOCK_ONLY.format(conversation_id))

    def __repr__(self) -> str:
        return f"QueueLockStore(namespace={self._options.namespace!r})"


_LOCK_ONLY = "the line of {!r} is in the daemon's store: QueueLockStore has `lock` alone, `lockstore show` shows lines"


def _key(arguments: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(arguments.items())
