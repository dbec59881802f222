"""`ConcurrentRedisLockStore`: one Lua script per command, on Redis' own clock; individual tickets, shards, outboxes."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from lockstore.core.commands import (
    Command,
    Expire,
    Finish,
    ForceRelease,
    Issue,
    Release,
    Renew,
    Request,
    Settle,
    Withdraw,
)
from lockstore.core.events import Event, taken_by
from lockstore.core.line import NO_ROOM
from lockstore.core.ticket import Sender, TicketLock
from lockstore.errors import ConfigError, ConversationError, StoreError, StoreFullError
from lockstore.stores.audit import Audited
from lockstore.stores.base import LockStore
from lockstore.stores.queries import OperatorQueries
from lockstore.stores.redis.concurrent.audit import AUDIT_VERBS, ConcurrentAudit
from lockstore.stores.redis.concurrent.queries import INDEX_VERBS, IndexedQueries
from lockstore.stores.redis.concurrent.replies import add_found, notices_of, outcome_of, turn_of
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.connect import ChangingCredentials
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.connection.scripts import Script, giving_back, load
from lockstore.stores.redis.key_ownership import ConcurrentNames
from lockstore.stores.redis.keys import SHARDS, ConcurrentKeys
from lockstore.stores.redis.pubsub import HintSubscription
from lockstore.stores.redis.replication_ids import HISTORY_SCRIPT, ReplicationIds
from lockstore.stores.results import Entry, NewTicket, Outcome, Patrol, Shard, Turn

__all__ = ["ConcurrentRedisLockStore"]

_COMMANDS = ("request", "release", "renew", "expire", "withdraw", "force_release", "issue", "finish")
_VERBS = (*_COMMANDS, "retract", "turn", "find_due", *INDEX_VERBS, *AUDIT_VERBS)
_PATROL_MOST = 100  # overdue tickets and left-behind events that one patrol returns per shard
_DIRECT, _QUEUED = "d", "-"  # as in _line.lua: whether a direct caller acts
_REDIS_MIN = (7, 0)  # for scripts that begin with #!lua


def _sender_args(sender: Sender) -> tuple[str, str, str, str]:
    return (sender.reply_to or "", sender.correlation_id or "", sender.user_id or "", sender.traceparent or "")


def _named_args(command: Release | Renew) -> tuple[Any, ...]:
    number = "" if command.number is None else command.number
    return (number, command.request_id or "", *_sender_args(command.sender))


class ConcurrentRedisLockStore(LockStore):
    """Stores every ticket individually, and executes each command as one atomic script. The recommended store.

    Numbers start at 1. Any number of daemons and bots may use it concurrently.
    """

    knows_all_lines = True

    def __init__(self, options: RedisOptions, credentials: ChangingCredentials | None = None) -> None:
        self._keys = ConcurrentKeys(options.key_prefix)
        self._names = ConcurrentNames(options)
        self._scripts = {name: load(name) for name in _VERBS}
        scripts = [*self._scripts.values(), giving_back(self._scripts["request"]), HISTORY_SCRIPT]
        self._servers = RedisClient(options, scripts, self._keys.mark_of, credentials)
        self._histories = ReplicationIds(self._servers)
        self.patience_s = 2 * options.socket_timeout  # an unresponsive server raises an error well before
        self._announced: dict[Shard, list[str]] = {}
        self._cursors: dict[Shard, str] = {}  # how far long outboxes have been read

    async def open(self) -> None:
        """Connect, and reject a server that is too old."""
        await self._servers.open()
        version = await self._servers.version()
        if version < _REDIS_MIN:
            installed = ".".join(map(str, version))
            message = f"lock_store: concurrent_redis needs Redis 7.0 or newer, this server is {installed}"
            raise ConfigError(message)
        await self._histories.learn({shard: self._keys.history(shard) for shard in range(SHARDS)})

    async def warnings(self) -> list[str]:
        """Return problems with the server's settings."""
        return await self._servers.warnings()

    async def close(self) -> None:
        """Remove published events from the outboxes, and close all connections."""
        await self._subscription.close()
        with suppress(StoreError):  # events that are not removed are published once more, with the same message id
            await self._forget_announced()
        await self._servers.close()

    # --- the three of LockStore ----------------------------------------------------------------------------------------

    async def get_lock(self, conversation_id: str) -> TicketLock | None:
        """Return a line, or None if it is empty."""
        lock, _ = await self.overview.view(conversation_id)
        return lock

    async def save_lock(self, lock: TicketLock) -> None:
        """Raise an error: only the scripts write tickets here."""
        message = f"conversation {lock.conversation_id!r}: concurrent_redis stores individual tickets and cannot save a whole lock"
        raise ConversationError(message)

    async def create_lock(self, conversation_id: str) -> TicketLock:
        """Return an empty lock; nothing needs to be stored for it."""
        return TicketLock(conversation_id)

    async def delete_lock(self, conversation_id: str) -> None:
        """Remove all direct tickets from the line. The daemon's tickets only end by the rules."""
        lock = await self.get_lock(conversation_id)
        for ticket in lock.tickets if lock else ():
            await self.act(Finish(conversation_id, ticket.number))

    # --- what the daemon asks ------------------------------------------------------------------------------------------

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Apply commands in order, in one round trip."""
        announced, self._announced = self._announced, {}
        letting_go = [("XDEL", self._keys.of_shard(int(shard))[1], *ids) for shard, ids in announced.items()]
        shards = [self._keys.shard_of(command.conversation_id) for command in commands]
        calls = [self._call(command, shard) for command, shard in zip(commands, shards, strict=True)]
        try:
            replies = await self._servers.run_each(calls, letting_go)
        except BaseException:
            for shard, ids in announced.items():
                self._announced.setdefault(shard, []).extend(ids)
            raise
        full = await self._refuse(commands, replies)
        outcomes: list[Outcome] = [
            reply if isinstance(reply, ConversationError) else outcome_of(shard, reply)
            for shard, reply in zip(shards, replies, strict=True)
        ]
        if full is not None:
            full.outcomes = outcomes
            raise full
        return outcomes

    async def _refuse(self, commands: Sequence[Command], replies: list[Any]) -> StoreFullError | None:
        """Retry without new tickets what a full server refused. Returns its error if that included requests."""
        places = [place for place, reply in enumerate(replies) if isinstance(reply, StoreFullError)]
        if not places:
            return None
        full: StoreFullError = replies[places[0]]
        has_requests = any(isinstance(commands[place], Request) for place in places)
        while places:
            # One command per line at a time: a full server refuses every transaction.
            first = {commands[place].conversation_id: place for place in reversed(places)}
            turn = sorted(first.values())
            again = await self._servers.run_all([self._call_without_room(commands[place]) for place in turn])
            for place, reply in zip(turn, again, strict=True):
                replies[place] = reply
            places = [place for place in places if place not in turn]
        return full if has_requests else None

    def _call_without_room(self, command: Command) -> Call:
        shard = self._keys.shard_of(command.conversation_id)
        if not isinstance(command, Request):
            return self._call(command, shard)
        verb, args = self._request(command, NO_ROOM)
        return self._call_of(giving_back(verb), command.conversation_id, shard, _QUEUED, args)

    def _request(self, command: Request, max_waiting: int) -> tuple[Script, tuple[Any, ...]]:
        asked = (command.request_id, command.lifetime_ms, command.wait_ms, max_waiting)
        return self._scripts["request"], (*asked, command.holder or "", *_sender_args(command.sender))

    def _call(self, command: Command, shard: int, direct: str = _QUEUED) -> Call:
        verb, args = self._verb(command)
        return self._call_of(verb, command.conversation_id, shard, direct, args)

    def _call_of(self, verb: Script, conversation_id: str, shard: int, direct: str, args: tuple[Any, ...]) -> Call:
        keys = self._keys.of_line(conversation_id, shard)
        seen = self._histories.seen(shard)
        limits = self.limits
        common = (conversation_id, limits.dedup_window_ms, self._keys.channel, direct + seen)
        return Call(verb, keys, (*common, limits.history, limits.history_keep_ms, *args))

    def _verb(self, command: Command) -> tuple[Script, tuple[Any, ...]]:  # noqa: PLR0911 - one for each command
        match command:
            case Request():
                return self._request(command, self.limits.max_waiting)
            case Release():
                return self._scripts["release"], _named_args(command)
            case Renew():
                lifetime_ms = "" if command.lifetime_ms is None else command.lifetime_ms
                return self._scripts["renew"], (*_named_args(command), lifetime_ms)
            case Expire():
                return self._scripts["expire"], (command.number,)
            case Settle():
                return self._scripts["expire"], ("",)
            case Withdraw():
                return self._scripts["withdraw"], (command.number, command.reply_to)
            case ForceRelease():
                return self._scripts["force_release"], (command.by, "" if command.number is None else command.number)
            case Issue():
                return self._scripts["issue"], (command.lifetime_ms, command.mark)
            case Finish():
                return self._scripts["finish"], (command.number,)

    async def confirm(self, entries: Sequence[Entry]) -> None:
        """Remove published events with the next batch or patrol, which saves a round trip for each."""
        for entry in entries:
            self._announced.setdefault(entry.shard, []).append(entry.id)

    def shard_of(self, conversation_id: str) -> Shard:
        """Return the shard that keeps this conversation's deadlines."""
        return self._keys.shard_of(conversation_id)

    def shards(self) -> Sequence[Shard]:
        """Return all shards."""
        return range(SHARDS)

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Sweep some shards, in one round trip."""
        await self._forget_announced()
        script = self._scripts["find_due"]
        calls = [
            Call(script, self._keys.of_shard(int(shard)), (_PATROL_MOST, age_ms, self._cursors.get(shard, "-")))
            for shard in shards
        ]
        found = Patrol()
        for shard, reply in zip(shards, await self._servers.run_all(calls), strict=True):
            if isinstance(reply, ConversationError):
                continue  # the next command on this shard reports it; the other shards are still swept
            # Entries that are retained must not hide those behind them: the next patrol continues from here.
            self._cursors[shard] = add_found(found, shard, reply, self.in_hand)
        left_in = {int(notice.entry.shard) for notice in found.unannounced if notice.entry is not None}
        await self._servers.replicated(self._keys.of_shard(shard)[0] for shard in sorted(left_in))
        return found

    async def _forget_announced(self) -> None:
        if self._announced:
            await self.apply(())

    # --- direct use ----------------------------------------------------------------------------------------------------

    async def act(self, command: Issue | Finish) -> int:
        """Apply a direct caller's command, and return the number that it issued."""
        shard = self._keys.shard_of(command.conversation_id)
        reply = await self._servers.run(self._call(command, shard, _DIRECT))
        return int(reply[0]) if isinstance(command, Issue) else command.number

    async def force_release(self, conversation_id: str, by: str, number: int | None = None) -> Event | None:
        """End the holder's lease, or remove the given ticket from the line."""
        shard = self._keys.shard_of(conversation_id)
        reply = await self._servers.run(self._call(ForceRelease(conversation_id, by, number), shard, _DIRECT))
        return taken_by(notice.event for notice in notices_of(shard, reply))

    async def issue_all(
        self, conversation_id: str, tickets: Sequence[NewTicket]
    ) -> list[tuple[int, Turn] | ConversationError]:
        """Issue direct tickets of one conversation in this order, in one round trip."""
        shard = self._keys.shard_of(conversation_id)
        commands = [Issue(conversation_id, ticket.lifetime_ms, ticket.mark) for ticket in tickets]
        replies = await self._servers.run_all([self._call(command, shard, _DIRECT) for command in commands])
        return [
            reply if isinstance(reply, ConversationError) else (int(reply[0]), turn_of(conversation_id, reply[1:]))
            for reply in replies
        ]

    async def retract(self, conversation_id: str, ticket: NewTicket) -> bool:
        """Remove a direct ticket whose number was lost with the reply. Returns whether it was found."""
        shard = self._keys.shard_of(conversation_id)
        call = self._call_of(self._scripts["retract"], conversation_id, shard, _DIRECT, (ticket.mark,))
        return bool(await self._servers.run(call))

    async def turn(self, conversation_id: str, number: int) -> Turn:
        """End overdue tickets and grant the next, end this direct ticket if its deadline has passed, and return its state."""
        shard = self._keys.shard_of(conversation_id)
        call = self._call_of(self._scripts["turn"], conversation_id, shard, _DIRECT, (number,))
        return turn_of(conversation_id, await self._servers.run(call))

    async def listen(self, conversation_id: str) -> None:  # noqa: ARG002 - one channel carries the hints of all conversations
        """Subscribe to the hints that the scripts publish."""
        await self._subscription.want()

    def audit(self) -> AsyncIterator[Audited]:
        """Compare lines with the index and the deadlines, and scan all keys for lines missing from the index."""
        return ConcurrentAudit(self._keys, self._names, self._servers, self._scripts).run()

    @cached_property
    def overview(self) -> OperatorQueries:
        """Queries for operators, answered from the shards' index."""
        return IndexedQueries(self, self._keys, self._servers, self._scripts)

    @cached_property
    def _subscription(self) -> HintSubscription:
        return HintSubscription(self._servers, self._keys.channel, self.wakeups, self.hint_unannounced)

    async def follow(self, left_behind: Callable[[Shard], None]) -> None:
        """Subscribe to hints of other processes as well."""
        await super().follow(left_behind)
        await self._subscription.want()
