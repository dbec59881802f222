"""`RedisClient`: scripts run here, wherever their keys are; in order, within a time, and again where that is safe."""

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
    """One script to run, on the keys of one line."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Any]

    def command(self, *beside: str) -> Command:
        """Give the command that runs it, with further keys behind its own."""
        return ("EVALSHA", self.script.sha, len(self.keys) + len(beside), *self.keys, *beside, *self.args)


class RedisClient:
    """The Redis servers of one store. Every call has one time limit as a whole: the configured timeout."""

    def __init__(
        self,
        options: RedisOptions,
        scripts: Sequence[Script],
        mark_of: Callable[[str], str],
        credentials: ChangingCredentials | None = None,
    ) -> None:
        """Take what to connect to. `mark_of` gives for a key another one in the same hash slot, free to be written."""
        self._dialing = ConnectionFactory(options, scripts, credentials)
        self._event_loop = OneEventLoop()
        self._mark_of = mark_of
        self._begin()
        self._clustered = options.deployment_mode == "cluster"
        self._limit_s = options.socket_timeout
        self._remarks = options.remarks

    def _begin(self) -> None:
        """Begin without connections, which belong to the event loop that they are made in."""
        self._deployment = _DEPLOYMENTS[self._dialing.options.deployment_mode](self._dialing)
        self._batches = BatchRunner(self._dialing, self._deployment, self._mark_of)

    async def open(self) -> None:
        """Connect to every server. Raises ConfigError where trying again would not help, else StoreUnavailableError."""
        with stopping_the_start():
            await self.ask_each("PING")
            await self._check_mode()

    async def _check_mode(self) -> None:
        """Compare what the servers are with the deployment mode. Raises ConfigError."""
        infos = await self.infos("server")
        if infos is not None and not self._clustered and any(info.get("redis_mode") == "cluster" for info in infos):
            raise ConfigError(
                "lock_store.deployment_mode: this server is part of a cluster: set deployment_mode: cluster"
            )

    async def close(self) -> None:
        """Let go of all connections. It may then be used again, from another event loop too."""
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
        """Run scripts as `run_each` does. Raises StoreFullError if the server refused one because it is full."""
        replies = await self.run_each(calls, before)
        for reply in replies:
            if isinstance(reply, StoreFullError):
                raise reply
        return replies

    async def run_each(self, calls: Sequence[Call], before: Iterable[Command] = ()) -> list[Any]:
        """Run scripts, in one round trip to each server; a fault of one conversation's data stands in its reply's place.

        So does StoreFullError, in the place of what a full server refused.

        Those of one line (the same first key) take effect in order: where one could not be done now, none after it is.
        `before` are plain commands, the key in second place, that go first and whose replies nobody needs.
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
        """Name a key that never is, for a cluster: with it, nothing that writes is run while its slot is being moved.

        A node that gives a slot away says of every missing key that it is not its own, also in the middle of a script that
        has just deleted it; the script is broken off then, and what it has written stays.
        """
        return (f"{self._mark_of(call.keys[0])}-absent",) if self._clustered and call.script.writes else ()

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Run plain commands, the key in second place, in one round trip to each server, and give their replies."""
        self._event_loop.check()
        replies: list[Any] = [None] * len(commands)
        parts = [LineBatch(str(command[1]), [command], [place], False) for place, command in enumerate(commands)]  # noqa: FBT003
        await self._batches.do(parts, replies)
        for reply in replies:
            if isinstance(reply, StoreFullError):
                raise reply
        return replies

    async def replicated(self, keys: Iterable[str]) -> None:
        """Wait until the configured number of replicas has what was written so far to the servers of these keys."""
        self._event_loop.check()
        if self._batches.waits:
            await self._batches.do([LineBatch(key) for key in keys], [])

    # --- servers ---------------------------------------------------------------------------------------------------------

    async def ask_each(self, *command: Any) -> list[Any]:
        """Send one command to every server that takes writes, and give their replies. Raises StoreUnavailableError."""
        self._event_loop.check()
        with translated():
            async with asyncio.timeout(self._limit_s):
                try:
                    await self._deployment.prepare()
                    places = await self._deployment.places()
                    clients = [await place.fresh_client() for place in places]
                    return [await client.execute_command(*command) for client in clients]  # type: ignore[no-untyped-call]
                except CONNECTION_ERRORS:
                    self._deployment.doubt()
                    raise

    async def version(self) -> tuple[int, ...]:
        """Ask for the oldest server's version, as (7, 0)."""
        infos = await self.ask_each("INFO", "server")
        return min(tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) for info in infos)

    async def infos(self, section: str) -> list[dict[str, Any]] | None:
        """Ask every server that takes writes what it says of itself; None: the user has no right to ask that."""
        try:
            return await self.ask_each("INFO", section)
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, exceptions.NoPermissionError):
                return None
            raise

    async def warnings(self) -> list[str]:
        """Say what is doubtful about the servers' settings, and which options were passed over."""
        infos = await self.infos("memory")
        if infos is None:
            return self._remarks  # a user with few rights; the server's own administrator knows
        policies = {str(info.get("maxmemory_policy", "noeviction")) for info in infos} - {"noeviction"}
        follows = "tickets and last numbers may vanish, so that two hold one conversation, or a number is given twice"
        return [
            *self._remarks,
            *(
                f"Redis evicts keys when it is full (maxmemory-policy {policy}): {follows}; "
                "set maxmemory-policy noeviction"
                for policy in sorted(policies)
            ),
        ]

    async def pages(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """Go through the keys of a pattern, on every server. Each step has the time limit of a call.

        Never on a hot path. A key of another program's may be no text, so they are given as they are.
        """
        self._event_loop.check()
        with translated():
            async with asyncio.timeout(self._limit_s):
                await self._deployment.prepare()
                places = await self._deployment.places()
        for place in places:
            cursor: int | None = None
            while cursor != 0:
                with translated():
                    async with asyncio.timeout(self._limit_s):
                        cursor, page = await place.client.scan(cursor or 0, match=pattern, count=_SCAN_COUNT)
                yield cast("list[bytes]", page)

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Go through the keys of a pattern that are text, as ours are. Never on a hot path."""
        async for page in self.pages(pattern):
            for key in page:
                with suppress(UnicodeDecodeError):
                    yield key.decode()

    async def hints_client(self) -> redis.Redis:
        """Give a client of any server that takes writes, to subscribe with: what one publishes, all do."""
        await self._deployment.prepare()
        places = await self._deployment.places()
        return await places[0].fresh_client()

    @property
    def reauthenticate_s(self) -> float | None:
        """Age from which a connection has to authenticate anew; None: never."""
        credentials = self._dialing.credentials
        return None if credentials is None else credentials.reauthenticate_s
