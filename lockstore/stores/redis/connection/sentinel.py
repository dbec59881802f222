"""A primary found through Sentinels: they are queried for every new connection, and regularly while the store is in use."""

import asyncio
import time
from typing import Any, cast

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.utils import str_if_bytes

from lockstore.stores.redis.connection.connect import ConnectionFactory
from lockstore.stores.redis.connection.error_sentences import sentence_of
from lockstore.stores.redis.connection.errors import CONNECTION_ERRORS
from lockstore.stores.redis.connection.standalone import SingleNode
from lockstore.stores.redis.connection.topology import Node

__all__ = ["Sentinels"]

_PATIENCE_S = 1.0  # timeout for one sentinel before the next is queried
_IDLE_S = 5.0  # a sentinel idle for longer is queried on a new connection; while the primary is in use, one is queried every second
_LOOK_S = 1.0  # how often sentinels are queried while the primary is in use


class Sentinels(SingleNode):
    """The primary of one service. A failover shows as a lost connection, a refused write, or a long silence.

    Sentinels are also polled, because after a planned failover (SENTINEL FAILOVER) the old primary keeps accepting
    writes for ten seconds, which are then lost.
    """

    watches = True

    def __init__(self, factory: ConnectionFactory) -> None:
        options = factory.options
        self._service = options.sentinel_service
        nodes = [(node.host, node.port) for node in options.nodes]
        arguments = factory.to_sentinels(_PATIENCE_S)
        self._sentinel = _Sentinel(nodes, arguments)
        client = self._sentinel.master_for(self._service, redis.Redis, db=options.database, **factory.to_servers())
        super().__init__(Node("primary", client))
        self._looked_at_s = time.monotonic()
        self._look: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Check in the background whether another server has become the primary; if so, drop all connections."""
        now_s = time.monotonic()
        if now_s - self._looked_at_s >= _LOOK_S and (self._look is None or self._look.done()):
            self._looked_at_s = now_s
            self._look = asyncio.create_task(self._compare())
        await super().prepare()

    async def _compare(self) -> None:
        try:
            address = await self._sentinel.discover_master(self._service)
        except CONNECTION_ERRORS:
            return  # the sentinels do not know at the moment
        # The address of the newest connection.
        if address != cast("SentinelConnectionPool", self._node.client.connection_pool).master_address:
            self.doubt()

    async def is_gone(self, node: Node, connection: AbstractConnection) -> bool:  # noqa: ARG002 - there is one
        """Ask the sentinels whether another server has become the primary."""
        try:
            address = await self._sentinel.discover_master(self._service)
        except CONNECTION_ERRORS:
            return False  # the sentinels do not know either at the moment
        return isinstance(connection, Connection) and address != (connection.host, connection.port)

    async def close(self) -> None:
        """Close all connections, to the primary and to the sentinels."""
        if self._look is not None:
            self._look.cancel()
        await super().close()
        await self._sentinel.aclose()


class _Sentinel(Sentinel):
    """redis-py's Sentinel with better errors: each sentinel's answer, and the last one's error as the cause."""

    def __init__(self, nodes: list[tuple[str, int]], arguments: dict[str, Any]) -> None:
        super().__init__(nodes, sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]
        self._asked_at_s: dict[redis.Redis, float] = {}

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address from the first sentinel that knows one. Raises MasterNotFoundError."""
        answers: list[str] = []
        cause: BaseException | None = None
        for sentinel in list(self.sentinels):
            where = sentinel.connection_pool.connection_kwargs
            try:
                await self._renew(sentinel)
                answer = await self._ask(sentinel, service_name)
            except CONNECTION_ERRORS as error:
                sentence = sentence_of(error)
                cause, answer = error, str(error) if sentence is None else sentence.text
            if isinstance(answer, tuple):
                # Query the sentinel that answered first next time. Concurrent calls may have reordered the list.
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return answer
            answers.append(f"{where['host']}:{where['port']}: {answer}")
        raise MasterNotFoundError(f"no sentinel knows a primary of {service_name!r}: {'; '.join(answers)}") from cause

    async def _renew(self, sentinel: redis.Redis) -> None:
        """Close a sentinel's idle connection, which may be dead, so that it is queried on a new one."""
        now_s = time.monotonic()
        if now_s - self._asked_at_s.get(sentinel, now_s) > _IDLE_S:
            await sentinel.connection_pool.disconnect(inuse_connections=False)
        self._asked_at_s[sentinel] = now_s

    async def _ask(self, sentinel: redis.Redis, service_name: str) -> tuple[str, int] | str:
        """Return the address that one sentinel reports, or its error. Raises one of CONNECTION_ERRORS."""
        known = cast("dict[str, dict[str, Any]]", await sentinel.sentinel_masters())
        state = known.get(service_name)
        if state is None:
            return "does not know this service"
        address = str(state["ip"]), int(state["port"])
        if "failover_in_progress" in state["flags"]:
            # The sentinel leading a failover lists the old primary until all replicas follow the new one; queried by
            # name, it returns the new one.
            named = cast("tuple[Any, int] | None", await sentinel.sentinel_get_master_addr_by_name(service_name))
            if named is not None and (str_if_bytes(named[0]), named[1]) != address:
                return str_if_bytes(named[0]), named[1]
        return address if self.check_master_state(state, service_name) else "considers it down"
