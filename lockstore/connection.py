"""Connections to Redis for both stores, and the one place where redis-py's errors become ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import hiredis
import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.options import RedisOptions
from lockstore.scripts import Script
from lockstore.tls import tls_context

__all__ = ["Server"]

_WRONG_TYPE = "WRONGTYPE"
_CONNECTIONS_MAX = 64  # calls at once; further ones wait. redis-py's pool refuses at 100 instead


def _loading(scripts: Sequence[Script]) -> Callable[[AbstractConnection], Awaitable[None]]:
    """Have every new connection load the scripts first.

    After a server's restart or failover another client could otherwise load them in the middle of a batch of ours, so
    that an earlier command of a conversation would fail and a later one succeed.
    """

    async def prepare(connection: AbstractConnection) -> None:
        await connection.on_connect()
        for script in scripts:
            await connection.send_command("SCRIPT", "LOAD", script.text)
            await connection.read_response()

    return prepare


def _certificates(options: RedisOptions) -> dict[str, Any]:
    names = ("ssl_ca_certs", "ssl_keyfile", "ssl_certfile")
    return {name: str(path) for name in names if (path := getattr(options, name)) is not None}


def _client(options: RedisOptions, scripts: Sequence[Script]) -> redis.Redis:
    """Make a client whose connections have these scripts loaded. Nothing is sent yet."""
    if options.speaks_tls:
        tls_context(options, "lock_store")  # redis-py loads the files itself, but only when it connects
    common: dict[str, Any] = {
        "socket_connect_timeout": options.socket_timeout,
        # None: a call has one timeout as a whole, in Server; redis-py's own would cost one for each reply.
        "socket_timeout": None,
        # Whoever calls tries again, and knows what may be tried again. A pool hands out no connection that is closed.
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": _loading(scripts),
    }
    if options.username:
        common["username"] = options.username
    if options.password is not None:
        common["password"] = options.password.get_secret_value()
    if options.is_url(options.place):
        if options.db_of_url is None:
            common["db"] = options.db
        if options.place.startswith("rediss://"):
            common |= _certificates(options)
        try:
            return redis.Redis.from_url(options.place, **common)
        except ValueError as error:
            message = f"lock_store.host: not a Redis URL: {error}"
            raise ConfigError(message) from None
    if options.use_ssl:
        common |= {"ssl": True} | _certificates(options)
    return redis.Redis(host=options.place, port=options.port, db=options.db, **common)


def _fault_of(error: exceptions.ResponseError) -> ConversationError | StoreUnavailableError:
    """Tell a fault of one conversation's data from a server that cannot serve for now."""
    text = str(error)
    code = text.partition(" ")[0]
    # A code (MISCONF, NOREPLICAS, ...) speaks of the server's state. redis-py has classes of its own for some of them, and
    # leaves out ERR, with which a script's own failure begins.
    of_a_script = type(error) is exceptions.ResponseError and not code.isupper() and "user_script" in text
    return ConversationError(text) if of_a_script or code == _WRONG_TYPE else StoreUnavailableError(text)


@contextmanager
def _errors_translated() -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailableError or ConversationError."""
    try:
        yield
    except exceptions.NoScriptError:
        raise
    except exceptions.ResponseError as error:
        raise _fault_of(error) from error
    except (exceptions.RedisError, OSError, TimeoutError) as error:
        message = f"{type(error).__name__}: {error}"
        raise StoreUnavailableError(message) from error


class Server:
    """The Redis server of one store: scripts run here, each call within the configured timeout."""

    def __init__(self, options: RedisOptions, scripts: Sequence[Script]) -> None:
        self.client = _client(options, scripts)
        self._timeout_s = options.socket_timeout
        self._scripts = tuple(scripts)
        self._gate = asyncio.Semaphore(_CONNECTIONS_MAX)

    async def close(self) -> None:
        """Let go of all connections."""
        await self.client.aclose()

    async def version(self) -> tuple[int, ...]:
        """Ask for the server's version, as (7, 0)."""
        with _errors_translated():
            async with asyncio.timeout(self._timeout_s):
                info = await self.client.info("server")
        return tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])

    async def warnings(self) -> list[str]:
        """Say what is doubtful about the server's settings."""
        with _errors_translated():
            async with asyncio.timeout(self._timeout_s):
                try:
                    policy = (await self.client.info("memory")).get("maxmemory_policy", "noeviction")
                except exceptions.NoPermissionError:
                    return []  # a user with few rights; the server's own administrator knows
        if policy == "noeviction":
            return []
        what = f"Redis evicts keys when it is full (maxmemory-policy {policy})"
        follows = "tickets and last numbers may vanish, so that two hold one conversation, or a number is given twice"
        return [f"{what}: {follows}; set maxmemory-policy noeviction"]

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Go through the keys of a pattern. Never on a hot path."""
        found = self.client.scan_iter(match=pattern, count=1000)
        while True:
            with _errors_translated():
                async with asyncio.timeout(self._timeout_s):
                    key = await anext(found, None)
            if key is None:
                return
            yield key.decode()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run one script. Raises ConversationError or StoreUnavailableError."""
        [reply] = await self.run_all([(script, keys, args)])
        if isinstance(reply, ConversationError):
            raise reply
        return reply

    async def run_all(
        self, calls: Sequence[tuple[Script, Sequence[str], Sequence[Any]]], before: Sequence[tuple[Any, ...]] = ()
    ) -> list[Any]:
        """Run scripts in one round trip, in order; a fault of one conversation's data stands in its reply's place.

        `before` are plain commands that go first, and whose replies nobody needs.
        """
        if not calls and not before:
            return []
        commands = [*before, *(("EVALSHA", script.sha, len(keys), *keys, *args) for script, keys, args in calls)]
        with _errors_translated():
            for _ in range(3):
                async with asyncio.timeout(self._timeout_s), self._gate:
                    replies = await self._exchange(commands)
                    if not any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
                        return [_judged(reply) for reply in replies[len(before) :]]
                    # SCRIPT FLUSH: everything is sent again, and whatever did run is safe to run again.
                    await self._exchange([("SCRIPT", "LOAD", script.text) for script in self._scripts])
        message = "scripts vanish as soon as they are loaded"
        raise StoreUnavailableError(message)

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands on one connection, and read a reply or an error for each.

        What redis-py's pipeline does, without its bookkeeping for each command, which cost more than the command.
        """
        pool = self.client.connection_pool
        connection = cast("AbstractConnection", await pool.get_connection())  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), check_health=False)
            replies: list[Any] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except exceptions.ResponseError as error:
                    replies.append(error)
        except BaseException:
            await connection.disconnect(nowait=True)  # replies may still be on their way, to nobody
            raise
        finally:
            await pool.release(connection)
        return replies


def _judged(result: Any) -> Any:
    if not isinstance(result, exceptions.ResponseError):
        return result
    fault = _fault_of(result)
    if isinstance(fault, StoreUnavailableError):
        raise fault
    return fault
