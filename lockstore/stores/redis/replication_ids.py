"""The replication ids under which numbers were issued, as seen by this process. They reveal a server that lost data."""

from collections.abc import Mapping

from lockstore.errors import ConversationError
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.scripts import load

__all__ = ["HISTORY_SCRIPT", "ReplicationIds"]

HISTORY_SCRIPT = load("init_replication")
"""The scripts to load."""

_AT_ONCE = 1000  # histories in one batch; the `redis` store on a cluster may have one in each of 16384 slots


class ReplicationIds:
    """The replication id that this process first saw, by shard. Scripts that issue numbers compare it with the current one."""

    def __init__(self, servers: RedisClient) -> None:
        self._servers = servers
        self._seen: dict[int, str] = {}

    async def learn(self, keys: Mapping[int, str]) -> None:
        """Read all histories before the first number is issued, and create missing ones. Raises StoreUnavailableError.

        This detects a loss even in a process that has issued no number yet, and even if the very first numbers are
        lost.
        """
        shards = list(keys)
        for start in range(0, len(shards), _AT_ONCE):
            some = shards[start : start + _AT_ONCE]
            replies = await self._servers.run_all([Call(HISTORY_SCRIPT, (keys[shard],), ()) for shard in some])
            for shard, run in zip(some, replies, strict=True):
                if not isinstance(
                    run, ConversationError
                ):  # another program's value; the next command on this shard reports it
                    self.note(shard, run)

    def note(self, shard: int, run: bytes) -> None:
        """Record the first replication id seen; with any later one, the numbers have already jumped."""
        self._seen.setdefault(shard, run.decode())

    def seen(self, shard: int) -> str:
        """Return the replication id first seen, "" if none."""
        return self._seen.get(shard, "")
