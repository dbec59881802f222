"""Steps of a check at the lock store: the way in, its clock, and a ticket's life, without a daemon."""

import time
import uuid

from daemon.admin.checks.runner import CheckResult, Failure
from lockstore.core.commands import Release, Renew, Request
from lockstore.core.events import Event, Rejected, Released, Renewed
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore

__all__ = ["CONVERSATION", "StoreChecks"]

CONVERSATION = "lockstore check"
"""The conversation in which checks are made: always the same one, since a store never forgets its last number."""

_LIFETIME_MS = 5000  # if the check is broken off, the next one need not wait for long
_CLOCKS_APART_S = 1.0
_ALL_AGES_MS = 1_000_000_000


class StoreChecks:
    """The steps on one store."""

    def __init__(self, store: LockStore) -> None:
        self._store = store

    async def open(self) -> CheckResult:
        """Connect."""
        await self._store.open()
        doubtful = await self._store.warnings()
        if doubtful:
            return CheckResult("warn", "; ".join(doubtful))
        return CheckResult("ok", type(self._store).__name__)

    async def clock(self) -> CheckResult:
        """Compare clocks, since what is shown to people are the store's times."""
        await self._store.view(CONVERSATION)  # the first time takes longer
        before = time.time()
        store_s = (await self._store.view(CONVERSATION))[1] / 1000
        apart_s = store_s - (before + time.time()) / 2
        said = f"the store's clock is {abs(apart_s):.1f} s {'ahead of' if apart_s > 0 else 'behind'} this machine's"
        if abs(apart_s) > _CLOCKS_APART_S:
            return CheckResult("warn", f"{said}; leases go by the store's", "have both machines' clocks set, by NTP")
        return CheckResult("ok", said)

    async def work(self) -> CheckResult:
        """Have one ticket issued, renewed and released, and do what a daemon does besides."""
        request_id = uuid.uuid4().hex
        [granted] = await self._apply(Request(CONVERSATION, request_id, _LIFETIME_MS, 0, CONVERSATION))
        if isinstance(granted, Rejected):
            if granted.reason == "busy":
                return CheckResult("skip", "another check holds the conversation of checks just now", "run this again")
            raise Failure(f"the request was refused: {granted.detail}", _REMEDY)
        number = granted.number
        await self._expect(Renewed, Renew(CONVERSATION, number, request_id))
        await self._expect(Released, Release(CONVERSATION, number, request_id))
        await self._store.patrol([self._store.shard_of(CONVERSATION)], _ALL_AGES_MS)
        return CheckResult("ok", f"a ticket was granted, renewed and released; its number was {number}")

    async def _expect(self, kind: type[Event], command: Renew | Release) -> None:
        events = await self._apply(command)
        if not any(isinstance(event, kind) for event in events):
            raise Failure(f"a {type(command).__name__.lower()} came to nothing: {events}", _REMEDY)

    async def _apply(self, command: Request | Renew | Release) -> list[Event]:
        """Apply it, and keep to ourselves what is to be announced of it."""
        [outcome] = await self._store.apply([command])
        if isinstance(outcome, ConversationError):
            raise outcome
        await self._store.confirm([notice.entry for notice in outcome if notice.entry is not None])
        return [notice.event for notice in outcome]


_REMEDY = "look at the user's rights in the store: docs/redis.md, Users and rights"
