"""Executes a batch on all servers of a deployment in parallel, following redirections."""

import asyncio
from collections.abc import Callable
from typing import Any

from redis import exceptions

from lockstore.errors import ConversationError, StoreFullError, StoreUnavailableError
from lockstore.stores.redis.connection.connect import ConnectionFactory
from lockstore.stores.redis.connection.errors import fault_of, translated
from lockstore.stores.redis.connection.round_trip import Answer, RoundTrip
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.connection.topology import Command, LineBatch, Node, Topology
from lockstore.util.backoff import Backoff

__all__ = ["BatchRunner"]

_BATCHES_MAX = 64  # concurrent batches; further ones wait. redis-py's pool fails at 100 connections
_FIRST_S, _MOST_S = 0.005, 0.1  # delays while a slot is being moved
_LOADS_MAX = 3  # how often one batch loads missing scripts

_MARK = load("mark")

_ELSEWHERE = (exceptions.AskError, exceptions.TryAgainError)  # redis-py's MovedError is an AskError

_CUT_OFF = (
    exceptions.ConnectionError,
    ConnectionError,
)  # closed by the other end, as opposed to a timeout


class BatchRunner:
    """Executes everything that is sent for lines. Each batch has one overall timeout."""

    def __init__(self, factory: ConnectionFactory, deployment: Topology, mark_of: Callable[[str], str]) -> None:
        options = factory.options
        self._factory = factory
        self._deployment = deployment
        self._round_trip = RoundTrip(factory, deployment)
        self._mark_of = mark_of
        self._replicas = options.wait_replicas
        self._replicas_ms = options.wait_replicas_timeout_ms
        self._limit_s = options.socket_timeout + (self._replicas_ms / 1000 if self._replicas else 0)
        self._gate = asyncio.Semaphore(_BATCHES_MAX)

    @property
    def waits(self) -> bool:
        """Whether writes wait for replicas."""
        return self._replicas > 0

    async def do(self, parts: list[LineBatch], replies: list[Any]) -> None:
        """Execute parts, and store their replies at their positions. Raises StoreUnavailableError."""
        if not parts:
            return
        with translated():
            async with asyncio.timeout(self._limit_s), self._gate:
                await self._serve(parts, replies)

    async def _serve(self, parts: list[LineBatch], replies: list[Any]) -> None:
        """Execute the parts on their servers, and redirected ones again, until all are done."""
        pause = Backoff(_FIRST_S, _MOST_S)
        loads = 0
        while True:
            await self._deployment.prepare()
            again: list[LineBatch] = []
            unloaded: set[Node] = set()
            for node, share, answers in await self._send(self._deployment.split(parts)):
                for part, answer in zip(share, answers, strict=True):
                    if _is_unloaded(answer):
                        unloaded.add(node)
                        again.append(part)
                    elif isinstance(answer, _ELSEWHERE):
                        await self._deployment.redirect(part, answer)
                        again.append(part)
                    else:
                        self._note(part, node, answer, replies)
            if not again:
                return
            loads += bool(unloaded)
            if loads > _LOADS_MAX:
                raise StoreUnavailableError("the server keeps discarding loaded scripts")
            for node in unloaded:
                # After SCRIPT FLUSH everything is sent again; commands that were executed are safe to repeat.
                await self._round_trip.commands(node, self._factory.load_commands())
            if not unloaded:
                await asyncio.sleep(pause.next_s())
            parts = again

    async def _send(
        self, shares: list[tuple[Node, list[LineBatch]]]
    ) -> list[tuple[Node, list[LineBatch], list[Answer]]]:
        """Send each server its share, in parallel."""
        if len(shares) == 1:
            [(node, parts)] = shares
            return [(node, parts, await self._send_one(node, parts))]
        sending = (self._send_one(node, parts) for node, parts in shares)
        answers = await asyncio.gather(*sending, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer  # all have finished by now, and are safe to repeat
        return [(*share, answer) for share, answer in zip(shares, answers, strict=True) if isinstance(answer, list)]

    async def _send_one(self, node: Node, parts: list[LineBatch]) -> list[Answer]:
        waits = bool(self._replicas) and any(part.writes for part in parts)
        last: list[Command] = []
        if waits:
            # WAIT refers to this connection's last write. The mark is such a write, later than those of other
            # connections.
            last = [("SET", self._mark_of(parts[0].key), 1), ("WAIT", self._replicas, self._replicas_ms)]
        try:
            try:
                answers, replies = await self._round_trip.parts(node, parts, last)
            except _CUT_OFF as error:
                # The connection broke during this batch, or unnoticed before it: a new connection may well work.
                if isinstance(error.__context__, exceptions.ReadOnlyError) or not all(
                    part.repeatable for part in parts
                ):
                    raise
                answers, replies = await self._round_trip.parts(node, parts, last)
            if waits and isinstance(replies[0], exceptions.OutOfMemoryError):
                # A full server refuses a plain SET. Any write made now, on any connection, is later than all previous
                # ones.
                loading = ("SCRIPT", "LOAD", _MARK.text)
                marking = ("EVALSHA", _MARK.sha, 1, self._mark_of(parts[0].key))
                replies = await self._round_trip.commands(node, [loading, marking, last[-1]])
            if waits and not all(isinstance(answer, _ELSEWHERE) for answer in answers):
                self._check_replicas(replies)
        except BaseException:
            self._deployment.doubt(node)
            raise
        return answers

    def _check_replicas(self, replies: list[Any]) -> None:
        for reply in replies:
            if isinstance(reply, _ELSEWHERE):
                raise StoreUnavailableError("a slot is being moved, and the state of the replicas is unknown meanwhile")
            if isinstance(reply, exceptions.ResponseError):
                raise reply
        count = replies[-1]
        if count < self._replicas:
            raise StoreUnavailableError(
                f"the last writes have reached {count} replicas, and {self._replicas} are required"
            )

    def _note(self, part: LineBatch, node: Node, answer: Answer, replies: list[Any]) -> None:
        """Store a part's replies at their positions. Raises StoreUnavailableError if the server was at fault."""
        if isinstance(answer, exceptions.ResponseError):
            answer = [answer] * len(part.commands)
        for position, reply in zip(part.positions, answer, strict=False):  # some replies are not needed
            replies[position] = reply
        for reply in answer:
            if not isinstance(reply, exceptions.ResponseError):
                continue
            fault = _fault_of(reply)
            if isinstance(fault, StoreUnavailableError) and not (isinstance(fault, StoreFullError) and part.positions):
                self._deployment.doubt(node)
                raise fault from reply
        for position in part.positions:
            if isinstance(reply := replies[position], exceptions.ResponseError):
                replies[position] = _fault_of(reply)


def _is_unloaded(answer: Answer) -> bool:
    replies = answer if isinstance(answer, list) else [answer]
    return any(isinstance(reply, exceptions.NoScriptError) for reply in replies)


def _fault_of(reply: exceptions.ResponseError) -> ConversationError | StoreUnavailableError:
    fault = fault_of(reply)
    return StoreFullError(str(fault)) if isinstance(reply, exceptions.OutOfMemoryError) else fault
