"""How every connection to Redis is made: time limits, TLS, credentials, and the scripts loaded before anything else."""

import asyncio
import time
from collections.abc import Sequence
from math import inf
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from lockstore.errors import StoreUnavailableError
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.connection.scripts import Script
from lockstore.util.tls import tls_context

__all__ = ["ChangingCredentials", "ConnectionFactory"]

_REPLACED_S = 1.5  # for connecting, where another server may take this one's place meanwhile
_AGAIN_S = 600.0  # until the next try, when there were no credentials to authenticate a live connection anew
# With its maintenance notifications, redis-py takes what is unread for one of them: a closed connection is no longer mended.
_NO_MAINTENANCE = MaintNotificationsConfig(enabled=False)
_PATIENCE_S = 2.0  # for those; then the connection is used as it is, rather than given up with the batch that waits


class ChangingCredentials(Protocol):
    """Credentials that change with time, as redis-py's CredentialProvider gives them."""

    @property
    def reauthenticate_s(self) -> float:
        """Age, in seconds, from which a connection has to authenticate anew before it is used."""

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Give user and password that hold now."""

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Give user and password that hold now."""


class ConnectionFactory:
    """The arguments of redis-py's connections, for servers and for sentinels."""

    def __init__(
        self, options: RedisOptions, scripts: Sequence[Script], credentials: ChangingCredentials | None = None
    ) -> None:
        self.options = options
        self.credentials = credentials
        self._scripts = tuple(scripts)
        self._authenticated_at: WeakKeyDictionary[AbstractConnection, float] = WeakKeyDictionary()
        if options.speaks_tls:
            tls_context(options, "lock_store")  # redis-py loads the files itself, but only when it connects

    def to_servers(self) -> dict[str, Any]:
        """Give what connections to servers have in common; host, port and database are left to the caller."""
        alone = self.options.deployment_mode == "standard"
        common: dict[str, Any] = {
            "socket_connect_timeout": min(self.options.socket_timeout, inf if alone else _REPLACED_S),
            # None: a call has one timeout as a whole, in Servers; redis-py's own would cost one for each reply.
            "socket_timeout": None,
            # Whoever calls tries again, and knows what may be tried again. A pool hands out no connection that is closed.
            "retry": Retry(NoBackoff(), 0),
            "redis_connect_func": self._prepare,
            "maint_notifications_config": _NO_MAINTENANCE,
        }
        return common | self._tls() | self._who(*self.options.credentials)

    def to_directory(self, patience_s: float) -> dict[str, Any]:
        """Give what connections have that only ask where things are: sentinels, or any node of a cluster."""
        limit_s = min(patience_s, self.options.socket_timeout)
        common: dict[str, Any] = {"socket_connect_timeout": limit_s, "socket_timeout": limit_s}
        common |= {"redis_connect_func": self._introduce, "maint_notifications_config": _NO_MAINTENANCE}
        return common | {"retry": Retry(NoBackoff(), 0)} | self._tls()

    def to_sentinels(self, patience_s: float) -> dict[str, Any]:
        """Give what connections to sentinels have: TLS as the servers', and their own credentials where they differ."""
        return self.to_directory(patience_s) | self._who(*self.options.sentinel_credentials, own=True)

    def to_nodes(self, patience_s: float) -> dict[str, Any]:
        """Give what connections have that ask a cluster's nodes for the layout."""
        return self.to_directory(patience_s) | self._who(*self.options.credentials)

    def _tls(self) -> dict[str, Any]:
        if not self.options.speaks_tls:
            return {}
        names = ("ssl_ca_certs", "ssl_keyfile", "ssl_certfile")
        files = {name: str(path) for name in names if (path := getattr(self.options, name)) is not None}
        return {"ssl": True, **files}

    def _who(self, username: str | None, password: Any, *, own: bool = False) -> dict[str, Any]:
        if self.credentials is not None and not (own and self.options.sentinel_password):
            return {"credential_provider": self.credentials}
        given: dict[str, Any] = {"username": username} if username else {}
        return given | ({} if password is None else {"password": password.get_secret_value()})

    async def _introduce(self, connection: AbstractConnection) -> None:
        """Authenticate a new connection; it is not kept where that fails or is broken off, replies unread."""
        try:
            await connection.on_connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _prepare(self, connection: AbstractConnection) -> None:
        """Authenticate, and load the scripts, before a new connection is used.

        After a server's restart or failover another client could otherwise load them in the middle of a batch of ours, so
        that an earlier command of a conversation would fail and a later one succeed.
        """
        await self._introduce(connection)
        try:
            for script in self._scripts:
                await connection.send_command("SCRIPT", "LOAD", script.text)
                await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._authenticated_at[connection] = time.monotonic()

    async def refresh(self, connection: AbstractConnection) -> None:
        """Authenticate a connection again whose authentication is getting old."""
        if self.credentials is None:
            return
        now_s = time.monotonic()
        if now_s - self._authenticated_at[connection] < self.credentials.reauthenticate_s:
            return
        try:
            async with asyncio.timeout(min(_PATIENCE_S, self.options.socket_timeout / 2)):
                who = await self.credentials.get_credentials_async()
        except (StoreUnavailableError, TimeoutError):
            # The connection is still good, for a while.
            self._authenticated_at[connection] = now_s - self.credentials.reauthenticate_s + _AGAIN_S
            return
        await connection.send_command("AUTH", *who)
        await connection.read_response()
        self._authenticated_at[connection] = now_s

    def load_commands(self) -> list[tuple[Any, ...]]:
        """Give the commands that load all scripts."""
        return [("SCRIPT", "LOAD", script.text) for script in self._scripts]
