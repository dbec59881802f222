"""The Redis servers of a store, however they are deployed: the one place where redis-py's errors become ours."""

from lockstore.servers.dialing import ChangingCredentials
from lockstore.servers.faults import LOST
from lockstore.servers.servers import Call, Servers

__all__ = ["LOST", "Call", "ChangingCredentials", "Servers"]
