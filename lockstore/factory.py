"""Creates lock stores from the `lock_store` section of the configuration."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lockstore.core.rules import Limits
from lockstore.errors import ConfigError
from lockstore.stores import custom
from lockstore.stores.base import LockStore
from lockstore.stores.memory import InMemoryLockStore
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.connection.options import (
    BUILT_IN_TYPES,
    OLD_CONCURRENT_TYPE,
    RASA_CONCURRENT_TYPE,
    RASA_REDIS_TYPE,
)
from lockstore.stores.redis.connection.section import redis_credentials, redis_options
from lockstore.stores.redis.rasa.store import RedisLockStore
from lockstore.util.text import did_you_mean

__all__ = ["REDIS_STORES", "create_store"]

REDIS_STORES: dict[str, type[RedisLockStore] | type[ConcurrentRedisLockStore]] = {
    "redis": RedisLockStore,
    "concurrent_redis": ConcurrentRedisLockStore,
    OLD_CONCURRENT_TYPE: ConcurrentRedisLockStore,
    RASA_REDIS_TYPE: RedisLockStore,
    RASA_CONCURRENT_TYPE: ConcurrentRedisLockStore,
}

_OF_A_BOT = "lockstore.rasa.QueueLockStore"


def create_store(
    section: Mapping[str, Any], limits: Limits, environ: Mapping[str, str] = MappingProxyType({})
) -> LockStore:
    """Create the store that a section describes. Raises ConfigError with the field and the rule.

    `environ`: where the variables for IAM credentials are looked up; pass `os.environ` to use the process's own.
    """
    store = _build(section, environ)
    store.limits = limits
    return store


def _build(section: Mapping[str, Any], environ: Mapping[str, str]) -> LockStore:
    kind = section.get("type") or "in_memory"
    if not isinstance(kind, str):
        message = f"lock_store.type: must be a text, not {type(kind).__name__}"
        raise ConfigError(message)
    options = {name: value for name, value in section.items() if name != "type"}
    if kind == "in_memory":
        if options:
            message = f"lock_store.{min(options)}: the in_memory store takes no options"
            raise ConfigError(message)
        return InMemoryLockStore()
    if kind in REDIS_STORES:
        checked = redis_options(options)
        return REDIS_STORES[kind](checked, redis_credentials(checked, environ))
    if kind == _OF_A_BOT:
        raise ConfigError(
            f"lock_store.type: {kind} belongs in the endpoints.yml of a Rasa server, whose locks a daemon grants; give the daemon"
            " a file of its own, with a type for its tickets: concurrent_redis, redis or in_memory (docs/rasa.md)"
        )
    if "." in kind and all(part.isidentifier() for part in kind.split(".")):
        return custom.build(kind, section)
    near = did_you_mean(kind, BUILT_IN_TYPES)
    raise ConfigError(f"lock_store.type: must be in_memory, redis, concurrent_redis or path.to.module.Class{near}")
