"""The Redis servers of a store, however they are deployed: the one place where redis-py's errors become ours."""

from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.connect import ChangingCredentials
from lockstore.stores.redis.connection.errors import CONNECTION_ERRORS

__all__ = ["CONNECTION_ERRORS", "Call", "ChangingCredentials", "RedisClient"]
