"""Under which run of Redis numbers are issued, as a process saw it: what an emptied server can be told by."""

from collections.abc import Mapping

from lockstore.errors import ConversationError
from lockstore.stores.redis.connection import Call, RedisClient
from lockstore.stores.redis.connection.scripts import load

__all__ = ["HISTORY_SCRIPT", "ReplicationIds"]

HISTORY_SCRIPT = load("learn_history")
"""What the server has to have loaded."""

_AT_ONCE = 1000  # histories in one batch; a cluster's `redis` store may have one in each of 16384 slots


class ReplicationIds:
    """The runs of Redis that this process has seen, by shard. A script that issues a number is shown the one of its shard."""

    def __init__(self, servers: RedisClient) -> None:
        self._servers = servers
        self._seen: dict[int, str] = {}

    async def learn(self, keys: Mapping[int, str]) -> None:
        """Look at histories before the first number is issued; begin those that do not exist. Raises StoreUnavailableError.

        So a loss is noticed even by a process that has issued nothing yet, and even when the very first numbers are lost.
        """
        shards = list(keys)
        for start in range(0, len(shards), _AT_ONCE):
            some = shards[start : start + _AT_ONCE]
            replies = await self._servers.run_all([Call(HISTORY_SCRIPT, (keys[shard],), ()) for shard in some])
            for shard, run in zip(some, replies, strict=True):
                if not isinstance(run, ConversationError):  # another program's value: told to whoever asks there
                    self.note(shard, run)

    def note(self, shard: int, run: bytes) -> None:
        """Keep the first run that was seen: any later one must have had its numbers jump."""
        self._seen.setdefault(shard, run.decode())

    def seen(self, shard: int) -> str:
        """Give the run that was seen first, "" where none was."""
        return self._seen.get(shard, "")
