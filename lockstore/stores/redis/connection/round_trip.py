"""One batch to one server and back, on one connection: commands out, replies in, each told from the other."""

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
"""What came of a part: a reply or an error for each of its commands; or why none of them was done."""

_SILENCE_S = 1.0  # after which others are asked whether the server has been replaced
_AGAIN_S = 0.5  # until they are asked again


class RoundTrip:
    """The way of a batch. What redis-py's pipelines do, without their bookkeeping, which cost more than the command."""

    def __init__(self, dialing: ConnectionFactory, deployment: Topology) -> None:
        self._dialing = dialing
        self._deployment = deployment
        self._patience_s = min(PATIENCE_S, dialing.options.socket_timeout / 4)

    async def parts(
        self, place: Node, parts: Sequence[LineBatch], last: Sequence[Command]
    ) -> tuple[list[Answer], list[Any]]:
        """Do parts at a place, in one round trip; give an answer for each, and the replies to the `last` commands."""
        commands = [command for part in parts for command in _wrapped(part)]
        replies = await self.commands(place, [*commands, *last])
        rest = iter(replies)
        return [_answer(part, rest) for part in parts], list(rest)

    async def commands(self, place: Node, commands: Sequence[Command]) -> list[Any]:
        """Send commands on one connection, and read a reply or an error for each."""
        connection = place.take()
        try:
            if self._deployment.watches:
                async with self._unless_replaced(place, connection):
                    replies = await self._talk(place, connection, commands)
            else:
                replies = await self._talk(place, connection, commands)
            if any(isinstance(reply, ReadOnlyError) for reply in replies):
                await connection.disconnect()  # it is a replica by now
        except BaseException:
            await connection.disconnect(nowait=True)  # replies may still be on their way, to nobody
            raise
        finally:
            await place.give_back(connection)
        return replies

    async def _talk(self, place: Node, connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
        await place.ensure(connection, self._patience_s)
        await self._dialing.refresh(connection)
        await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), check_health=False)
        return [await _reply(connection) for _ in commands]

    @asynccontextmanager
    async def _unless_replaced(self, place: Node, connection: AbstractConnection) -> AsyncIterator[None]:
        """Break off, with TimeoutError, what gets no answer because the other end hangs and has been replaced."""
        asking: list[asyncio.Task[None]] = []
        over = asyncio.Event()
        async with asyncio.timeout(None) as limit:

            def ask() -> None:
                asking.append(asyncio.create_task(self._find_out(place, connection, limit, over)))

            timer = asyncio.get_running_loop().call_later(_SILENCE_S, ask)
            try:
                yield
            finally:
                timer.cancel()
                over.set()
                for task in asking:
                    task.cancel()

    async def _find_out(
        self, place: Node, connection: AbstractConnection, limit: asyncio.Timeout, over: asyncio.Event
    ) -> None:
        """Ask until the other end has been replaced, and end the waiting for it.

        `over` is set when the waiting has ended: redis-py can lose the cancellation of a task that connects.
        """
        while not await self._deployment.is_gone(place, connection):
            if over.is_set():
                return
            await asyncio.sleep(_AGAIN_S)
        if over.is_set():
            return
        self._deployment.doubt(place)
        limit.reschedule(asyncio.get_running_loop().time())


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _wrapped(part: LineBatch) -> Iterator[Command]:
    """Give a part's commands; several as one transaction, so that none takes effect without those before it."""
    if part.asking is not None:
        yield ("ASKING",)
    if len(part.commands) <= 1:
        yield from part.commands
        return
    yield ("MULTI",)
    yield from part.commands
    yield ("EXEC",)


def _answer(part: LineBatch, replies: Iterable[Any]) -> Answer:
    """Take a part's own replies from the stream of all."""
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
    # EXECABORT only says that one of them was refused before.
    reasons = (reply for reply in queued if isinstance(reply, ResponseError))
    return next(reasons, done) if isinstance(done, ExecAbortError) else done
