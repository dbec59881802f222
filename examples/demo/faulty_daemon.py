"""A daemon that misbehaves on purpose: it lets every few tickets in at once, whoever is inside.

The real daemon has no switch for this; the lock store that it is given is wrapped. Run it as the daemon is run:
`python -m examples.demo.faulty_daemon serve --config FILE`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import uvloop

from daemon.cli import serve as serving
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from daemon.service import Service
from lockstore.core.commands import Command
from lockstore.core.events import Event, Granted, Queued
from lockstore.errors import ConversationError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from lockstore.stores.results import Entry, Notice, Outcome, Patrol, Shard

EVERY = 7  # one ticket of so many that should stand in line
LEASE_MS = 2_000


class ImpatientStore(LockStore):
    """A lock store that says of some waiting tickets that they were granted."""

    def __init__(self, honest: LockStore) -> None:
        self._honest = honest
        self._queued = 0

    async def open(self) -> None:
        """Open the honest store."""
        await self._honest.open()

    async def close(self) -> None:
        """Close it."""
        await self._honest.close()

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Apply them honestly, and lie about it now and then."""
        return [self._twisted(outcome) for outcome in await self._honest.apply(commands)]

    async def confirm(self, entries: Sequence[Entry]) -> None:
        """Let go of announced events."""
        await self._honest.confirm(entries)

    def shard_of(self, conversation_id: str) -> Shard:
        """Give the honest store's shard."""
        return self._honest.shard_of(conversation_id)

    def shards(self) -> Sequence[Shard]:
        """Give the honest store's shards."""
        return self._honest.shards()

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Look through the honest store's shards."""
        return await self._honest.patrol(shards, age_ms)

    def _twisted(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, ConversationError):
            return outcome
        return tuple(Notice(self._told(notice.event), notice.entry) for notice in outcome)

    def _told(self, event: Event) -> Event:
        if not isinstance(event, Queued):
            return event
        self._queued += 1
        if self._queued % EVERY:
            return event
        return Granted(
            conversation_id=event.conversation_id,
            number=event.number,
            request_id=event.request_id,
            holder=event.holder,
            at_ms=event.at_ms,
            to=event.to,
            expires_at_ms=event.at_ms + LEASE_MS,
            waited_ms=0,
            behind=0,
        )


def main() -> None:
    """Serve as `lockstore serve` does, on a store that is not honest."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.faulty_daemon")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--config", type=Path, required=True)
    logs.set_up("info")
    loaded = settings.load(parser.parse_args().config)
    store = ImpatientStore(create_store(loaded.lock_store, loaded.daemon.limits))
    uvloop.run(serving.run(Service(loaded, store)))


if __name__ == "__main__":
    main()
