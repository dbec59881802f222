"""How every connection to Redis is opened: timeouts, TLS, credentials, and the scripts loaded first."""

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

_REPLACED_S = 1.5  # connect timeout, where a failover may replace the server meanwhile
_AGAIN_S = 600.0  # delay until the next attempt if no credentials were available to reauthenticate a live connection
# redis-py's maintenance notifications would consume unread data, so that a closed connection would no longer be
# detected.
_NO_MAINTENANCE = MaintNotificationsConfig(enabled=False)
_PATIENCE_S = (
    2.0  # timeout for credentials; the connection is then used as it is, which is better than failing the batch
)


class ChangingCredentials(Protocol):
    """Credentials that change over time, like redis-py's CredentialProvider."""

    @property
    def reauthenticate_s(self) -> float:
        """Age, in seconds, after which a connection has to authenticate again before its next use."""

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the user and password that are valid now."""

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the user and password that are valid now."""


class ConnectionFactory:
    """The arguments of redis-py's connections, to servers and to sentinels."""

    def __init__(
        self, options: RedisOptions, scripts: Sequence[Script], credentials: ChangingCredentials | None = None
    ) -> None:
        self.options = options
        self.credentials = credentials
        self._scripts = tuple(scripts)
        self._authenticated_at: WeakKeyDictionary[AbstractConnection, float] = WeakKeyDictionary()
        if options.speaks_tls:
            tls_context(options, "lock_store")  # redis-py also loads the files, but only when it connects

    def to_servers(self) -> dict[str, Any]:
        """Return the common arguments of connections to servers; the caller adds host, port and database."""
        alone = self.options.deployment_mode == "standard"
        common: dict[str, Any] = {
            "socket_connect_timeout": min(self.options.socket_timeout, inf if alone else _REPLACED_S),
            # No timeout here: RedisClient has one timeout for a whole call; redis-py's own would apply to each reply.
            "socket_timeout": None,
            # The caller retries, because only the caller knows what is safe to repeat. The pool returns no closed
            # connection.
            "retry": Retry(NoBackoff(), 0),
            "redis_connect_func": self._prepare,
            "maint_notifications_config": _NO_MAINTENANCE,
        }
        return common | self._tls() | self._who(*self.options.credentials)

    def to_directory(self, patience_s: float) -> dict[str, Any]:
        """Return the arguments of connections that only query addresses: of sentinels, or of any cluster node."""
        limit_s = min(patience_s, self.options.socket_timeout)
        common: dict[str, Any] = {"socket_connect_timeout": limit_s, "socket_timeout": limit_s}
        common |= {"redis_connect_func": self._introduce, "maint_notifications_config": _NO_MAINTENANCE}
        return common | {"retry": Retry(NoBackoff(), 0)} | self._tls()

    def to_sentinels(self, patience_s: float) -> dict[str, Any]:
        """Return the arguments of connections to sentinels: TLS as for servers, and their own credentials where given."""
        return self.to_directory(patience_s) | self._who(*self.options.sentinel_credentials, own=True)

    def to_nodes(self, patience_s: float) -> dict[str, Any]:
        """Return the arguments of connections that query cluster nodes for the layout."""
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
        """Authenticate a new connection; discard it if that fails or is cancelled, because replies may be unread."""
        try:
            await connection.on_connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _prepare(self, connection: AbstractConnection) -> None:
        """Authenticate and load the scripts before a new connection is used.

        Otherwise another client could load them in the middle of our batch after a restart or failover, so that an
        earlier command of a conversation would fail and a later one succeed.
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
        """Reauthenticate a connection whose credentials are about to expire."""
        if self.credentials is None:
            return
        now_s = time.monotonic()
        if now_s - self._authenticated_at[connection] < self.credentials.reauthenticate_s:
            return
        try:
            async with asyncio.timeout(min(_PATIENCE_S, self.options.socket_timeout / 2)):
                who = await self.credentials.get_credentials_async()
        except (StoreUnavailableError, TimeoutError):
            # The connection remains usable for a while.
            self._authenticated_at[connection] = now_s - self.credentials.reauthenticate_s + _AGAIN_S
            return
        await connection.send_command("AUTH", *who)
        await connection.read_response()
        self._authenticated_at[connection] = now_s

    def load_commands(self) -> list[tuple[Any, ...]]:
        """Return the commands that load all scripts."""
        return [("SCRIPT", "LOAD", script.text) for script in self._scripts]
