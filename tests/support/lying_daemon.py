"""The real daemon on a store that lies: `python -m tests.support.lying_daemon serve --config FILE`.

It turns batches round, tells some who wait that it is their turn, and drops some requests. For tests that must find it out.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from daemon.cli.serve import run
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from daemon.service import Service
from lockstore.core.commands import Command, Request
from lockstore.core.events import Event, Granted, Queued
from lockstore.errors import ConversationError
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.results import Notice, Outcome

EARLY_EVERY, DROPPED_EVERY = 5, 20  # tickets that wait, requests


class LyingStore(ConcurrentRedisLockStore):
    """A store with three faults."""

    queued, asked = 0, 0

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        kept = [command for command in commands if not self._is_dropped(command)]
        askers = [command.conversation_id for command in kept if isinstance(command, Request)]
        is_turned = len(set(askers)) < len(askers)
        outcomes = await super().apply(kept[::-1] if is_turned else kept)
        told = dict(zip(map(id, kept), outcomes[::-1] if is_turned else outcomes, strict=True))
        return [self._twisted(told.get(id(command), ())) for command in commands]

    def _is_dropped(self, command: Command) -> bool:
        self.asked += isinstance(command, Request)
        return isinstance(command, Request) and self.asked % DROPPED_EVERY == 0

    def _twisted(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, ConversationError):
            return outcome
        return tuple(Notice(self._told(notice.event), notice.entry) for notice in outcome)

    def _told(self, event: Event) -> Event:
        self.queued += isinstance(event, Queued)
        if not isinstance(event, Queued) or self.queued % EARLY_EVERY:
            return event
        return Granted(
            conversation_id=event.conversation_id,
            number=event.number,
            request_id=event.request_id,
            holder=event.holder,
            at_ms=event.at_ms,
            to=event.to,
            expires_at_ms=event.at_ms + 20_000,
            waited_ms=0,
            behind=0,
        )


def main() -> None:
    _, serve, option, config = sys.argv
    assert (serve, option) == ("serve", "--config")
    logs.set_up("debug")
    loaded = settings.load(Path(config))
    section = {name: value for name, value in loaded.lock_store.items() if name != "type"}
    store = LyingStore(RedisOptions(**section))
    store.limits = loaded.daemon.limits
    uvloop.run(run(Service(loaded, store)))


main()
