"""Lock stores for an unchanged Rasa server, named in the bot's `endpoints.yml` (docs/rasa.md).

    type: lockstore.rasa.QueueLockStore             locks are taken through the daemon, over RabbitMQ
    type: lockstore.rasa.ConcurrentRedisLockStore   direct use of `concurrent_redis`, without a daemon
    type: lockstore.rasa.RedisLockStore             direct use of `redis`, on the keys of Rasa's own Redis lock store

    queue_store     `QueueLockStore`                direct_stores   the two Redis stores
    sections        checks the section               sender_ids      ids that the protocol refuses
    shared          one client per event loop        shutdown        closes it when Sanic stops
    rasa_classes    Rasa's base class and error      log             our log lines, under `rasa.`
    held_lock       what `lock()` yields

Rasa is imported only where it is installed, and the Redis stores only when one is created.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstore.rasa.direct_stores import ConcurrentRedisLockStore, RedisLockStore
    from lockstore.rasa.queue_store import QueueLockStore
    from lockstore.rasa.sender_ids import conversation_id_of

__all__ = ["ConcurrentRedisLockStore", "QueueLockStore", "RedisLockStore", "conversation_id_of"]

_HOMES = {
    "ConcurrentRedisLockStore": "lockstore.rasa.direct_stores",
    "QueueLockStore": "lockstore.rasa.queue_store",
    "RedisLockStore": "lockstore.rasa.direct_stores",
    "conversation_id_of": "lockstore.rasa.sender_ids",
}


def __getattr__(name: str) -> Any:
    """Import a name on first access. Raises AttributeError if it is unknown."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
