"""A primary that sentinels know the address of: asked anew for every new connection, and now and then besides."""

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

_PATIENCE_S = 1.0  # for one sentinel; then the next is asked
_IDLE_S = 5.0  # after which a sentinel is asked on a new connection; while the primary is in use, each second is one
_LOOK_S = 1.0  # how often, while the primary is in use, sentinels are asked whether it still is the primary


class Sentinels(SingleNode):
    """The primary of one service. Its failover is noticed by a lost connection, a refused write, or a long silence.

    And by asking: after a planned one (SENTINEL FAILOVER) the old primary goes on as if nothing was, for ten seconds, and
    then loses all that was written there.
    """

    watches = True

    def __init__(self, dialing: ConnectionFactory) -> None:
        options = dialing.options
        self._service = options.sentinel_service
        nodes = [(node.host, node.port) for node in options.nodes]
        arguments = dialing.to_sentinels(_PATIENCE_S)
        self._sentinel = _Sentinel(nodes, arguments)
        client = self._sentinel.master_for(self._service, redis.Redis, db=options.database, **dialing.to_servers())
        super().__init__(Node("primary", client))
        self._looked_at_s = time.monotonic()
        self._look: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Find out, beside the work, whether another server is the primary by now; let go of connections if so."""
        now_s = time.monotonic()
        if now_s - self._looked_at_s >= _LOOK_S and (self._look is None or self._look.done()):
            self._looked_at_s = now_s
            self._look = asyncio.create_task(self._compare())
        await super().prepare()

    async def _compare(self) -> None:
        try:
            address = await self._sentinel.discover_master(self._service)
        except CONNECTION_ERRORS:
            return  # they don't know, for now
        # Where the newest connection went to.
        if address != cast("SentinelConnectionPool", self._place.client.connection_pool).master_address:
            self.doubt()

    async def is_gone(self, place: Node, connection: AbstractConnection) -> bool:  # noqa: ARG002 - there is one
        """Ask the sentinels whether another server is the primary by now."""
        try:
            address = await self._sentinel.discover_master(self._service)
        except CONNECTION_ERRORS:
            return False  # they don't know either, for now
        return isinstance(connection, Connection) and address != (connection.host, connection.port)

    async def close(self) -> None:
        """Let go of all connections, to the primary and to the sentinels."""
        if self._look is not None:
            self._look.cancel()
        await super().close()
        await self._sentinel.aclose()


class _Sentinel(Sentinel):
    """redis-py's, whose error says what each sentinel answered, and keeps the last one's own error as its cause."""

    def __init__(self, nodes: list[tuple[str, int]], arguments: dict[str, Any]) -> None:
        super().__init__(nodes, sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]
        self._asked_at_s: dict[redis.Redis, float] = {}

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Give the primary's address, from the first sentinel that knows one. Raises MasterNotFoundError."""
        told: list[str] = []
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
                # The next time the one that answers is asked first. Others may have moved theirs meanwhile.
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return answer
            told.append(f"{where['host']}:{where['port']}: {answer}")
        raise MasterNotFoundError(f"no sentinel names a primary of {service_name!r}: {'; '.join(told)}") from cause

    async def _renew(self, sentinel: redis.Redis) -> None:
        """Have a sentinel that was not asked for a while asked on a new connection: the old one may have been cut off."""
        now_s = time.monotonic()
        if now_s - self._asked_at_s.get(sentinel, now_s) > _IDLE_S:
            await sentinel.connection_pool.disconnect(inuse_connections=False)
        self._asked_at_s[sentinel] = now_s

    async def _ask(self, sentinel: redis.Redis, service_name: str) -> tuple[str, int] | str:
        """Give the address that one sentinel names, or what it says instead. Raises one of LOST."""
        known = cast("dict[str, dict[str, Any]]", await sentinel.sentinel_masters())
        state = known.get(service_name)
        if state is None:
            return "knows no such service"
        address = str(state["ip"]), int(state["port"])
        if "failover_in_progress" in state["flags"]:
            # The one that leads it lists the old primary until all replicas follow the new one; asked by name, it names that.
            named = cast("tuple[Any, int] | None", await sentinel.sentinel_get_master_addr_by_name(service_name))
            if named is not None and (str_if_bytes(named[0]), named[1]) != address:
                return str_if_bytes(named[0]), named[1]
        return address if self.check_master_state(state, service_name) else "takes it for down"
