"""Checks of the lock store without a daemon: its connection, its clock, and the life cycle of a ticket."""

import time
import uuid

from daemon.admin.checks.runner import CheckResult, Failure
from lockstore.core.commands import Release, Renew, Request
from lockstore.core.events import Event, Rejected, Released, Renewed
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore

__all__ = ["CONVERSATION", "StoreChecks"]

CONVERSATION = "lockstore check"
"""The conversation used for checks: always the same, since a store keeps the last number of each forever."""

_LIFETIME_MS = 5000  # a check after an interrupted one need not wait long
_CLOCKS_APART_S = 1.0
_ALL_AGES_MS = 1_000_000_000


class StoreChecks:
    """The checks of one store."""

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
        """Compare the clocks, since times shown to operators are the store's."""
        await self._store.view(CONVERSATION)  # the first call takes longer
        before = time.time()
        store_s = (await self._store.view(CONVERSATION))[1] / 1000
        apart_s = store_s - (before + time.time()) / 2
        said = f"the store's clock is {abs(apart_s):.1f} s {'ahead of' if apart_s > 0 else 'behind'} this machine's"
        if abs(apart_s) > _CLOCKS_APART_S:
            return CheckResult(
                "warn", f"{said}; leases depend on the store's clock", "synchronize both machines' clocks with NTP"
            )
        return CheckResult("ok", said)

    async def work(self) -> CheckResult:
        """Issue, renew and release a ticket, including everything that a daemon does besides."""
        request_id = uuid.uuid4().hex
        [granted] = await self._apply(Request(CONVERSATION, request_id, _LIFETIME_MS, 0, CONVERSATION))
        if isinstance(granted, Rejected):
            if granted.reason == "busy":
                return CheckResult("skip", "another check is currently holding the test conversation", "run this again")
            raise Failure(f"the request was refused: {granted.detail}", _REMEDY)
        number = granted.number
        await self._expect(Renewed, Renew(CONVERSATION, number, request_id))
        await self._expect(Released, Release(CONVERSATION, number, request_id))
        await self._store.patrol([self._store.shard_of(CONVERSATION)], _ALL_AGES_MS)
        return CheckResult("ok", f"a ticket was granted, renewed and released; its number was {number}")

    async def _expect(self, kind: type[Event], command: Renew | Release) -> None:
        events = await self._apply(command)
        if not any(isinstance(event, kind) for event in events):
            raise Failure(f"a {type(command).__name__.lower()} had an unexpected result: {events}", _REMEDY)

    async def _apply(self, command: Request | Renew | Release) -> list[Event]:
        """Apply a command, and confirm its events so that no daemon publishes them."""
        [outcome] = await self._store.apply([command])
        if isinstance(outcome, ConversationError):
            raise outcome
        await self._store.confirm([notice.entry for notice in outcome if notice.entry is not None])
        return [notice.event for notice in outcome]


_REMEDY = "check the user's permissions in the store: docs/redis.md, Users and rights"
