"""A batch for all servers of a deployment: each gets its share at once, and what belonged elsewhere is done there."""

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

_BATCHES_MAX = 64  # under way at once; further ones wait. redis-py's pool refuses at 100 instead
_FIRST_S, _MOST_S = 0.005, 0.1  # pauses while a slot is being moved
_LOADS_MAX = 3  # of scripts, for one batch

_MARK = load("mark")

_ELSEWHERE = (exceptions.AskError, exceptions.TryAgainError)  # redis-py's MovedError is an AskError

_CUT_OFF = (
    exceptions.ConnectionError,
    ConnectionError,
)  # by the other end; what says nothing for long is another matter


class BatchRunner:
    """Everything that is sent on behalf of lines goes this way. A batch has one time limit as a whole."""

    def __init__(self, dialing: ConnectionFactory, deployment: Topology, mark_of: Callable[[str], str]) -> None:
        options = dialing.options
        self._dialing = dialing
        self._deployment = deployment
        self._exchange = RoundTrip(dialing, deployment)
        self._mark_of = mark_of
        self._replicas = options.wait_replicas
        self._replicas_ms = options.wait_replicas_timeout_ms
        self._limit_s = options.socket_timeout + (self._replicas_ms / 1000 if self._replicas else 0)
        self._gate = asyncio.Semaphore(_BATCHES_MAX)

    @property
    def waits(self) -> bool:
        """Whether replicas are waited for."""
        return self._replicas > 0

    async def do(self, parts: list[LineBatch], replies: list[Any]) -> None:
        """Do parts, and put their replies at their positions. Raises StoreUnavailableError."""
        if not parts:
            return
        with translated():
            async with asyncio.timeout(self._limit_s), self._gate:
                await self._serve(parts, replies)

    async def _serve(self, parts: list[LineBatch], replies: list[Any]) -> None:
        """Do the parts where they belong, and again those that belonged elsewhere, until all are done."""
        pause = Backoff(_FIRST_S, _MOST_S)
        loads = 0
        while True:
            await self._deployment.prepare()
            again: list[LineBatch] = []
            unloaded: set[Node] = set()
            for place, share, answers in await self._send(self._deployment.split(parts)):
                for part, answer in zip(share, answers, strict=True):
                    if _is_unloaded(answer):
                        unloaded.add(place)
                        again.append(part)
                    elif isinstance(answer, _ELSEWHERE):
                        await self._deployment.redirect(part, answer)
                        again.append(part)
                    else:
                        self._note(part, place, answer, replies)
            if not again:
                return
            loads += bool(unloaded)
            if loads > _LOADS_MAX:
                raise StoreUnavailableError("scripts vanish as soon as they are loaded")
            for place in unloaded:
                # SCRIPT FLUSH: everything is sent again, and whatever did run is safe to run again.
                await self._exchange.commands(place, self._dialing.load_commands())
            if not unloaded:
                await asyncio.sleep(pause.next_s())
            parts = again

    async def _send(
        self, shares: list[tuple[Node, list[LineBatch]]]
    ) -> list[tuple[Node, list[LineBatch], list[Answer]]]:
        """Send each server its share, all at once."""
        if len(shares) == 1:
            [(place, parts)] = shares
            return [(place, parts, await self._send_one(place, parts))]
        sending = (self._send_one(place, parts) for place, parts in shares)
        answers = await asyncio.gather(*sending, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer  # all have ended by now; whatever was done is safe to do again
        return [(*share, answer) for share, answer in zip(shares, answers, strict=True) if isinstance(answer, list)]

    async def _send_one(self, place: Node, parts: list[LineBatch]) -> list[Answer]:
        waits = bool(self._replicas) and any(part.writes for part in parts)
        last: list[Command] = []
        if waits:
            # WAIT asks for this connection's last write. The mark is one for sure, and younger than what others wrote.
            last = [("SET", self._mark_of(parts[0].key), 1), ("WAIT", self._replicas, self._replicas_ms)]
        try:
            try:
                answers, told = await self._exchange.parts(place, parts, last)
            except _CUT_OFF as error:
                # In the middle of this batch, or unnoticed just before: on a new connection the server may well serve it.
                if isinstance(error.__context__, exceptions.ReadOnlyError) or not all(
                    part.repeatable for part in parts
                ):
                    raise
                answers, told = await self._exchange.parts(place, parts, last)
            if waits and isinstance(told[0], exceptions.OutOfMemoryError):
                # A full server takes no plain SET. What is written now, on any connection, is younger than all before.
                loading = ("SCRIPT", "LOAD", _MARK.text)
                marking = ("EVALSHA", _MARK.sha, 1, self._mark_of(parts[0].key))
                told = await self._exchange.commands(place, [loading, marking, last[-1]])
            if waits and not all(isinstance(answer, _ELSEWHERE) for answer in answers):
                self._check_replicas(told)
        except BaseException:
            self._deployment.doubt(place)
            raise
        return answers

    def _check_replicas(self, told: list[Any]) -> None:
        for reply in told:
            if isinstance(reply, _ELSEWHERE):
                raise StoreUnavailableError("a slot is being moved, and nothing is known of the replicas meanwhile")
            if isinstance(reply, exceptions.ResponseError):
                raise reply
        count = told[-1]
        if count < self._replicas:
            raise StoreUnavailableError(f"{count} replicas have the last writes, and {self._replicas} have to")

    def _note(self, part: LineBatch, place: Node, answer: Answer, replies: list[Any]) -> None:
        """Put a part's replies where they belong. Raises StoreUnavailableError where the server was at fault."""
        if isinstance(answer, exceptions.ResponseError):
            answer = [answer] * len(part.commands)
        for position, reply in zip(part.positions, answer, strict=False):  # some replies nobody needs
            replies[position] = reply
        for reply in answer:
            if not isinstance(reply, exceptions.ResponseError):
                continue
            fault = _fault_of(reply)
            if isinstance(fault, StoreUnavailableError) and not (isinstance(fault, StoreFullError) and part.positions):
                self._deployment.doubt(place)
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
