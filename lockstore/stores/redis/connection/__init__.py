"""The Redis servers of a store, however they are deployed: the one place where redis-py's errors become ours."""

from lockstore.stores.redis.connection.connect import ChangingCredentials
from lockstore.stores.redis.connection.errors import LOST
from lockstore.stores.redis.connection.client import Call, Servers

__all__ = ["LOST", "Call", "ChangingCredentials", "Servers"]
