"""One batch to one server on one connection: sends commands, reads replies and assigns them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ExecAbortError, ReadOnlyError, ResponseError

from lockstore.stores.redis.connection.connect import ConnectionFactory
from lockstore.stores.redis.connection.topology import PATIENCE_S, Command, LineBatch, Node, Topology

__all__ = ["Answer", "RoundTrip"]

Answer = list[Any] | ResponseError
"""The outcome of a part: a reply or an error for each of its commands, or the reason why none was executed."""

_SILENCE_S = 1.0  # without a reply, after which others are asked whether the server has been replaced
_AGAIN_S = 0.5  # until they are asked again


class RoundTrip:
    """Sends batches, like redis-py's pipelines but without their overhead, which exceeded the cost of the commands."""

    def __init__(self, factory: ConnectionFactory, deployment: Topology) -> None:
        self._factory = factory
        self._deployment = deployment
        self._patience_s = min(PATIENCE_S, factory.options.socket_timeout / 4)

    async def parts(
        self, node: Node, parts: Sequence[LineBatch], last: Sequence[Command]
    ) -> tuple[list[Answer], list[Any]]:
        """Execute parts on a server in one round trip. Returns an answer for each, and the replies to the `last` commands."""
        commands = [command for part in parts for command in _wrapped(part)]
        replies = await self.commands(node, [*commands, *last])
        rest = iter(replies)
        return [_answer(part, rest) for part in parts], list(rest)

    async def commands(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        """Send commands on one connection, and return a reply or an error for each."""
        connection = node.take()
        try:
            if self._deployment.watches:
                async with self._unless_replaced(node, connection):
                    replies = await self._talk(node, connection, commands)
            else:
                replies = await self._talk(node, connection, commands)
            if any(isinstance(reply, ReadOnlyError) for reply in replies):
                await connection.disconnect()  # the server has become a replica
        except BaseException:
            await connection.disconnect(nowait=True)  # replies may still arrive for a caller that no longer waits
            raise
        finally:
            await node.give_back(connection)
        return replies

    async def _talk(self, node: Node, connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
        await node.ensure(connection, self._patience_s)
        await self._factory.refresh(connection)
        await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), check_health=False)
        return [await _reply(connection) for _ in commands]

    @asynccontextmanager
    async def _unless_replaced(self, node: Node, connection: AbstractConnection) -> AsyncIterator[None]:
        """Raise TimeoutError if there is no reply because the server hangs and has been replaced."""
        asking: list[asyncio.Task[None]] = []
        over = asyncio.Event()
        async with asyncio.timeout(None) as limit:

            def ask() -> None:
                asking.append(asyncio.create_task(self._find_out(node, connection, limit, over)))

            timer = asyncio.get_running_loop().call_later(_SILENCE_S, ask)
            try:
                yield
            finally:
                timer.cancel()
                over.set()
                for task in asking:
                    task.cancel()

    async def _find_out(
        self, node: Node, connection: AbstractConnection, limit: asyncio.Timeout, over: asyncio.Event
    ) -> None:
        """Poll until the server has been replaced, then expire the timeout.

        `over` is set when waiting has ended: redis-py can swallow the cancellation of a task that is connecting.
        """
        while not await self._deployment.is_gone(node, connection):
            if over.is_set():
                return
            await asyncio.sleep(_AGAIN_S)
        if over.is_set():
            return
        self._deployment.doubt(node)
        limit.reschedule(asyncio.get_running_loop().time())


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _wrapped(part: LineBatch) -> Iterator[Command]:
    """Return a part's commands; several become one transaction, so that none takes effect without those before it."""
    if part.asking is not None:
        yield ("ASKING",)
    if len(part.commands) <= 1:
        yield from part.commands
        return
    yield ("MULTI",)
    yield from part.commands
    yield ("EXEC",)


def _answer(part: LineBatch, replies: Iterable[Any]) -> Answer:
    """Take a part's replies from the stream of all replies."""
    rest = iter(replies)
    if part.asking is not None:
        next(rest)
    if not part.commands:
        return []
    if len(part.commands) == 1:
        reply = next(rest)
        return reply if isinstance(reply, ResponseError) else [reply]
    queued = list(islice(rest, 1 + len(part.commands)))
    done = next(rest)
    if not isinstance(done, ResponseError):
        return cast("list[Any]", done)
    # EXECABORT only means that a previous command was refused.
    reasons = (reply for reply in queued if isinstance(reply, ResponseError))
    return next(reasons, done) if isinstance(done, ExecAbortError) else done
