"""A primary that sentinels know the address of: asked anew for every new connection."""

from typing import Any, cast

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

from lockstore.servers.deployment import Place
from lockstore.servers.dialing import Dialing
from lockstore.servers.faults import LOST
from lockstore.servers.standard import OnePlace

__all__ = ["Sentinels"]

_PATIENCE_S = 1.0  # for one sentinel; then the next is asked


class Sentinels(OnePlace):
    """The primary of one service. Its failover is noticed by a lost connection, a refused write, or a long silence."""

    watches = True

    def __init__(self, dialing: Dialing) -> None:
        options = dialing.options
        self._service = options.sentinel_service
        nodes = [(node.host, node.port) for node in options.nodes]
        arguments = dialing.to_sentinels(_PATIENCE_S)
        self._sentinel = _Sentinel(nodes, sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]
        client = self._sentinel.master_for(self._service, redis.Redis, db=options.database, **dialing.to_servers())
        super().__init__(Place("primary", client))

    async def is_gone(self, place: Place, connection: AbstractConnection) -> bool:  # noqa: ARG002 - there is one
        """Ask the sentinels whether another server is the primary by now."""
        try:
            address = await self._sentinel.discover_master(self._service)
        except LOST:
            return False  # they don't know either, for now
        return isinstance(connection, Connection) and address != (connection.host, connection.port)

    async def close(self) -> None:
        """Let go of all connections, to the primary and to the sentinels."""
        await super().close()
        await self._sentinel.aclose()


class _Sentinel(Sentinel):
    """redis-py's, whose error says what each sentinel answered, and keeps the last one's own error as its cause."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Give the primary's address, from the first sentinel that knows one. Raises MasterNotFoundError."""
        told: list[str] = []
        cause: BaseException | None = None
        for place, sentinel in enumerate(self.sentinels):
            where = sentinel.connection_pool.connection_kwargs
            try:
                known = cast("dict[str, dict[str, Any]]", await sentinel.sentinel_masters())
            except LOST as error:
                cause = error
                told.append(f"{where['host']}:{where['port']}: {error}")
                continue
            state = known.get(service_name)
            if state and self.check_master_state(state, service_name):
                # The next time the one that answers is asked first.
                self.sentinels[0], self.sentinels[place] = sentinel, self.sentinels[0]
                return str(state["ip"]), int(state["port"])
            what = "takes it for down" if state else "knows no such service"
            told.append(f"{where['host']}:{where['port']}: {what}")
        raise MasterNotFoundError(f"no sentinel names a primary of {service_name!r}: {'; '.join(told)}") from cause
