"""`RedisClient`: runs scripts on the servers that have their keys; in order, with a timeout, retrying where that is safe."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import redis.asyncio as redis
from redis import exceptions

from lockstore.errors import ConfigError, ConversationError, StoreFullError, StoreUnavailableError
from lockstore.stores.redis.connection.batch import BatchRunner
from lockstore.stores.redis.connection.cluster import Cluster
from lockstore.stores.redis.connection.connect import ChangingCredentials, ConnectionFactory
from lockstore.stores.redis.connection.errors import CONNECTION_ERRORS, stopping_the_start, translated
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.connection.scripts import Script
from lockstore.stores.redis.connection.sentinel import Sentinels
from lockstore.stores.redis.connection.standalone import Standalone
from lockstore.stores.redis.connection.topology import Command, LineBatch, Topology
from lockstore.util.event_loop import OneEventLoop

__all__ = ["Call", "RedisClient"]

_SCAN_COUNT = 1000

_DEPLOYMENTS: dict[str, Callable[[ConnectionFactory], Topology]] = {
    "standard": Standalone,
    "sentinel": Sentinels,
    "cluster": Cluster,
}


class Call(NamedTuple):
    """A script to run, on the keys of one line."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Any]

    def command(self, *beside: str) -> Command:
        """Return the command that runs it, with further keys appended."""
        return ("EVALSHA", self.script.sha, len(self.keys) + len(beside), *self.keys, *beside, *self.args)


class RedisClient:
    """The Redis servers of one store. Every call has one overall timeout, `socket_timeout`."""

    def __init__(
        self,
        options: RedisOptions,
        scripts: Sequence[Script],
        mark_of: Callable[[str], str],
        credentials: ChangingCredentials | None = None,
    ) -> None:
        """`mark_of` returns, for a key, another key in the same hash slot that may be overwritten."""
        self._factory = ConnectionFactory(options, scripts, credentials)
        self._event_loop = OneEventLoop()
        self._mark_of = mark_of
        self._begin()
        self._clustered = options.deployment_mode == "cluster"
        self._limit_s = options.socket_timeout
        self._remarks = options.remarks

    def _begin(self) -> None:
        """Reset to a state without connections, which belong to the event loop in which they were opened."""
        self._deployment = _DEPLOYMENTS[self._factory.options.deployment_mode](self._factory)
        self._batches = BatchRunner(self._factory, self._deployment, self._mark_of)

    async def open(self) -> None:
        """Connect to every server. Raises ConfigError if a retry would not help, else StoreUnavailableError."""
        with stopping_the_start():
            await self.ask_each("PING")
            await self._check_mode()

    async def _check_mode(self) -> None:
        """Compare the servers with the deployment mode. Raises ConfigError."""
        infos = await self.infos("server")
        if infos is not None and not self._clustered and any(info.get("redis_mode") == "cluster" for info in infos):
            raise ConfigError(
                "lock_store.deployment_mode: this server is part of a cluster: set deployment_mode: cluster"
            )

    async def close(self) -> None:
        """Close all connections. The client may be used again afterwards, even in another event loop."""
        self._event_loop.check()
        await self._deployment.close()
        self._begin()
        self._event_loop.release()

    # --- scripts ---------------------------------------------------------------------------------------------------------

    async def run(self, call: Call) -> Any:
        """Run one script. Raises ConversationError or StoreUnavailableError."""
        [reply] = await self.run_all([call])
        if isinstance(reply, ConversationError):
            raise reply
        return reply

    async def run_all(self, calls: Sequence[Call], before: Iterable[Command] = ()) -> list[Any]:
        """Run scripts as `run_each` does. Raises StoreFullError if a full server refused one."""
        replies = await self.run_each(calls, before)
        for reply in replies:
            if isinstance(reply, StoreFullError):
                raise reply
        return replies

    async def run_each(self, calls: Sequence[Call], before: Iterable[Command] = ()) -> list[Any]:
        """Run scripts, in one round trip per server. An error in one conversation's data takes the place of its reply.

        StoreFullError likewise takes the place of a reply that a full server refused.

        Scripts on one line (the same first key) take effect in order: if one cannot be executed now, none after it
        is. `before` are plain commands, the key in second place, that are sent first and whose replies are ignored.
        """
        self._event_loop.check()
        replies: list[Any] = [None] * len(calls)
        parts = [LineBatch(str(command[1]), [command]) for command in before]
        lines: dict[str, LineBatch] = {}
        for position, call in enumerate(calls):
            part = lines.get(call.keys[0])
            if part is None:
                part = lines[call.keys[0]] = LineBatch(call.keys[0], writes=False)
                parts.append(part)
            part.commands.append(call.command(*self._absent(call)))
            part.positions.append(position)
            part.writes = part.writes or call.script.writes
            part.repeatable = part.repeatable and call.script.repeatable
        await self._batches.do(parts, replies)
        return replies

    def _absent(self, call: Call) -> tuple[str, ...]:
        """Return a key that never exists, for a cluster: it prevents writing scripts from running while their slot is moved.

        A node that is migrating a slot redirects for every missing key, even in the middle of a script that has just
        deleted it; the script is then aborted, but its writes remain.
        """
        return (f"{self._mark_of(call.keys[0])}-absent",) if self._clustered and call.script.writes else ()

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Run plain commands, the key in second place, in one round trip per server, and return their replies."""
        self._event_loop.check()
        replies: list[Any] = [None] * len(commands)
        parts = [LineBatch(str(command[1]), [command], [place], False) for place, command in enumerate(commands)]  # noqa: FBT003
        await self._batches.do(parts, replies)
        for reply in replies:
            if isinstance(reply, StoreFullError):
                raise reply
        return replies

    async def replicated(self, keys: Iterable[str]) -> None:
        """Wait until the configured number of replicas has everything written so far to the servers of these keys."""
        self._event_loop.check()
        if self._batches.waits:
            await self._batches.do([LineBatch(key) for key in keys], [])

    # --- servers ---------------------------------------------------------------------------------------------------------

    async def ask_each(self, *command: Any) -> list[Any]:
        """Send one command to every primary, and return their replies. Raises StoreUnavailableError."""
        self._event_loop.check()
        with translated():
            async with asyncio.timeout(self._limit_s):
                try:
                    await self._deployment.prepare()
                    nodes = await self._deployment.nodes()
                    clients = [await node.fresh_client() for node in nodes]
                    return [await client.execute_command(*command) for client in clients]  # type: ignore[no-untyped-call]
                except CONNECTION_ERRORS:
                    self._deployment.doubt()
                    raise

    async def version(self) -> tuple[int, ...]:
        """Return the oldest server's version, as (7, 0)."""
        infos = await self.ask_each("INFO", "server")
        return min(tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) for info in infos)

    async def infos(self, section: str) -> list[dict[str, Any]] | None:
        """Return INFO of every primary, None if the user lacks the permission."""
        try:
            return await self.ask_each("INFO", section)
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, exceptions.NoPermissionError):
                return None
            raise

    async def warnings(self) -> list[str]:
        """Return problems with the servers' settings, and ignored options."""
        infos = await self.infos("memory")
        if infos is None:
            return self._remarks  # the user has few permissions; the server's administrator can check
        policies = {str(info.get("maxmemory_policy", "noeviction")) for info in infos} - {"noeviction"}
        follows = "tickets and last numbers may be deleted, so that one conversation gets two holders, or a number is issued twice"
        return [
            *self._remarks,
            *(
                f"Redis evicts keys when it is full (maxmemory-policy {policy}): {follows}; "
                "set maxmemory-policy noeviction"
                for policy in sorted(policies)
            ),
        ]

    async def pages(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """Iterate over the keys that match a pattern, on every server. Each step has the timeout of a call.

        Never used on a hot path. Keys of other programs may not be text, so raw bytes are returned.
        """
        self._event_loop.check()
        with translated():
            async with asyncio.timeout(self._limit_s):
                await self._deployment.prepare()
                nodes = await self._deployment.nodes()
        for node in nodes:
            cursor: int | None = None
            while cursor != 0:
                with translated():
                    async with asyncio.timeout(self._limit_s):
                        cursor, page = await node.client.scan(cursor or 0, match=pattern, count=_SCAN_COUNT)
                yield cast("list[bytes]", page)

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Iterate over the keys that match a pattern and are text, as ours are. Never used on a hot path."""
        async for page in self.pages(pattern):
            for key in page:
                with suppress(UnicodeDecodeError):
                    yield key.decode()

    async def hints_client(self) -> redis.Redis:
        """Return a client of any primary for a subscription: messages are published on all of them."""
        await self._deployment.prepare()
        nodes = await self._deployment.nodes()
        return await nodes[0].fresh_client()

    @property
    def reauthenticate_s(self) -> float | None:
        """Age after which a connection has to authenticate again; None: never."""
        credentials = self._factory.credentials
        return None if credentials is None else credentials.reauthenticate_s
