"""Connections to the Redis servers of a store, in any deployment. The only place that translates redis-py's errors."""

from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.connect import ChangingCredentials
from lockstore.stores.redis.connection.errors import CONNECTION_ERRORS

__all__ = ["CONNECTION_ERRORS", "Call", "ChangingCredentials", "RedisClient"]
