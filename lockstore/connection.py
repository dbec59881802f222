"""Connections to Redis for both stores, and the one place where redis-py's errors become ours."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.options import RedisOptions
from lockstore.scripts import Script

__all__ = ["connect", "errors_translated", "fault_of", "run", "run_all"]

_WRONG_TYPE = "WRONGTYPE"


def _common(options: RedisOptions) -> dict[str, Any]:
    common: dict[str, Any] = {
        "socket_timeout": options.socket_timeout,
        "socket_connect_timeout": options.socket_timeout,
        # Whoever calls tries again, and knows what may be tried again. A pool hands out no connection that is closed.
        "retry": Retry(NoBackoff(), 0),
    }
    if options.username:
        common["username"] = options.username
    if options.password is not None:
        common["password"] = options.password.get_secret_value()
    return common


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


def connect(options: RedisOptions, scripts: Sequence[Script] = ()) -> redis.Redis:
    """Make a client for the configured server, whose connections have these scripts loaded. Nothing is sent yet."""
    common = _common(options)
    if scripts:
        common["redis_connect_func"] = _loading(scripts)
    if options.is_url(options.place):
        if "db" in options.model_fields_set:
            common["db"] = options.db
        try:
            return redis.Redis.from_url(options.place, **common)
        except ValueError as error:
            message = f"lock_store.host: not a Redis URL: {error}"
            raise ConfigError(message) from None
    if options.use_ssl:
        files = {"ssl_keyfile": options.ssl_keyfile, "ssl_certfile": options.ssl_certfile}
        common |= {"ssl": True, "ssl_ca_certs": str(options.ssl_ca_certs) if options.ssl_ca_certs else None}
        common |= {name: str(path) for name, path in files.items() if path is not None}
    return redis.Redis(host=options.place, port=options.port, db=options.db, **common)


def fault_of(error: exceptions.ResponseError) -> ConversationError | StoreUnavailableError:
    """Tell a fault of one conversation's data from a server that cannot serve for now."""
    text = str(error)
    code = text.partition(" ")[0]
    # A code (MISCONF, NOREPLICAS, ...) speaks of the server's state. redis-py has classes of its own for some of them, and
    # leaves out ERR, with which a script's own failure begins.
    of_a_script = type(error) is exceptions.ResponseError and not code.isupper() and "user_script" in text
    return ConversationError(text) if of_a_script or code == _WRONG_TYPE else StoreUnavailableError(text)


@contextmanager
def errors_translated() -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailableError or ConversationError."""
    try:
        yield
    except exceptions.NoScriptError:
        raise
    except exceptions.ResponseError as error:
        raise fault_of(error) from error
    except (exceptions.RedisError, OSError, TimeoutError) as error:
        message = f"{type(error).__name__}: {error}"
        raise StoreUnavailableError(message) from error


async def run(client: redis.Redis, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run one script, loading it where the server does not have it (a restart, a failover, SCRIPT FLUSH)."""
    with errors_translated():
        try:
            return await client.evalsha(script.sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return await client.eval(script.text, len(keys), *keys, *args)


async def run_all(client: redis.Redis, calls: Sequence[Sequence[Any]], scripts: Sequence[Script]) -> list[Any]:
    """Send calls (name, arguments) in one round trip, in order; a fault of a single call stands in its place.

    When any script is missing, all are loaded and everything is sent again, so that the order holds: whatever did run
    is idempotent.
    """
    with errors_translated():
        for _ in range(3):
            pipe = client.pipeline(transaction=False)
            for call in calls:
                pipe.execute_command(*call)
            results = await pipe.execute(raise_on_error=False)
            if not any(isinstance(result, exceptions.NoScriptError) for result in results):
                return [_judged(result) for result in results]
            await asyncio.gather(*(client.script_load(script.text) for script in scripts))
    message = "scripts vanish as soon as they are loaded"
    raise StoreUnavailableError(message)


def _judged(result: Any) -> Any:
    if not isinstance(result, exceptions.ResponseError):
        return result
    fault = fault_of(result)
    if isinstance(fault, StoreUnavailableError):
        raise fault
    return fault
