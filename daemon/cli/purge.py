"""`lockstore purge`: shows the data that an unused store has left in Redis, and deletes it with --yes."""

import asyncio
import os
import signal
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from daemon.cli import progress
from daemon.cli.exit_codes import PROBLEMS
from daemon.cli.output import counted
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import lines, say, show
from daemon.config import settings
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.purge import Deleted, Found, Purge, Sample, StoreName
from lockstore.util.escaping import escape

__all__ = ["run"]

_KINDS = {
    "lock": "lines, as Rasa writes them",
    "last": "last numbers issued",
    "memo": "finished requests, events",
    "agenda": "when to check which line",
    "slots": "slots that have an agenda",
    "line": "ticket numbers",
    "tickets": "tickets",
    "requests": "request ids",
    "ended": "finished requests",
    "events": "past events",
    "deadlines": "deadlines",
    "outbox": "unpublished events",
    "history": "replication ids",
    "lines": "index of lines",
    "waiting": "index of waiting",
    "mark": "marks for replicas",
}
_FIRST_NUMBER: dict[StoreName, int] = {"redis": 0, "concurrent_redis": 1}
_EXAMPLE_MAX = 60  # length of displayed example keys


@dataclass(kw_only=True)
class _Report(Report):
    store: StoreName
    options: RedisOptions
    delete: bool
    found: Found | None = None
    deleted: Deleted | None = None

    @property
    def exit_code(self) -> int:
        """Whether keys remain that should have been deleted, or were not even found."""
        left = self.deleted is not None and self.deleted.left.count > 0
        return PROBLEMS if left else super().exit_code

    @property
    def where(self) -> str:
        """The address that is scanned, without secrets."""
        options = self.options
        nodes = ", ".join(f"{node.host}:{node.port}" for node in options.nodes) or "a unix socket"
        kinds = {"standard": "", "cluster": "cluster of ", "sentinel": f"{options.sentinel_service}, found through "}
        prefix = f"key_prefix {options.key_prefix}" if options.key_prefix else "no key_prefix"
        return f"{kinds[options.deployment_mode]}{nodes}; database {options.database}; {prefix}"

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        found, deleted = self.found, self.deleted or Deleted()
        kinds = {} if found is None else {kind: asdict(sample) for kind, sample in found.kinds.items() if sample.count}
        return {
            "store": self.store,
            "where": self.where,
            "looked": found is not None,
            "keys": 0 if found is None else found.keys,
            "kinds": kinds,
            "live_tickets": 0 if found is None else found.live_tickets,
            "not_ours": {} if found is None else {why: asdict(sample) for why, sample in found.others.items()},
            "deleted": deleted.keys,
            "left": asdict(deleted.left),
        }

    def say_end(self) -> None:
        """Print the result."""
        found, deleted = self.found, self.deleted or Deleted()
        if found is None:
            say("Nothing was deleted.")
        elif not found.keys:
            say("There is nothing to delete.")
        elif not self.delete:
            say(f"Nothing was deleted. Give --yes to delete {counted(found.keys, 'key', 'keys')}.")
        else:
            of_all = "" if deleted.keys == found.keys else f" of {found.keys:,}"
            say(f"Deleted: {deleted.keys:,}{of_all} keys.")
        if deleted.left.count:
            names = ", ".join(escape(name, _EXAMPLE_MAX) for name in deleted.left.examples)
            say(
                f"Kept: {counted(deleted.left.count, 'key', 'keys')}, such as {names}. Keys have changed since the "
                "scan, so the store is still in use. Stop the programs that use it, then run this again."
            )
        if self.interrupted:
            say("Interrupted. Run this again to continue.")


def run(config: Path, store: StoreName, *, delete: bool, as_json: bool) -> int:
    """Scan, show, delete if requested, and return the exit code. Raises ConfigError."""
    work = Purge(settings.load(config).lock_store, store, os.environ)
    report = _Report(store=store, options=work.options, delete=delete)
    return carry_out("purge", report, _work(work, report, visible=not as_json), as_json=as_json)


async def _work(work: Purge, report: _Report, *, visible: bool) -> None:
    """Scan, show, and delete if requested. Raises StoreUnavailableError or ConfigError."""
    async with work:
        with progress.bar("keys") as moving:
            task = moving.add_task("looking at", total=None)
            async with aclosing(work.look()) as looks:
                async for found in looks:
                    moving.update(task, completed=len(found.met))
        report.found = found
        if visible:
            _show_found(report, found)
        if report.delete and found.keys:
            await _delete(work, report, found)


async def _delete(work: Purge, report: _Report, found: Found) -> None:
    """Delete batch by batch. If interrupted, finish the current one, so that the result is known."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with progress.bar("keys") as moving:
        task = moving.add_task("deleting", total=found.keys)
        async with aclosing(work.delete(found)) as steps:
            async for deleted in steps:
                report.deleted = deleted
                done = deleted.keys + deleted.left.count
                moving.update(task, completed=done)
                if stop.is_set() and done < found.keys:
                    report.interrupted = True
                    return


def _show_found(report: _Report, found: Found) -> None:
    """Show the keys found, and warnings before they are deleted."""
    say(f"Data of the store {report.store} in Redis ({report.where})")
    if found.keys:
        rows = [(kind, _KINDS[kind], *_of(sample)) for kind, sample in found.kinds.items() if sample.count]
        show(("kind", "content", "keys>", "for example"), rows)
    if found.others:
        say("Not deleted: named like this store's keys, but not created by it")
        show(("why", "keys>", "for example"), [(why, *_of(sample)) for why, sample in found.others.items()])
    if found.live_tickets:
        live = counted(found.live_tickets, "ticket is", "tickets are")
        say(
            f"WARNING: {live} still live. These conversations may be held or waited for "
            "in the old store. Wait until they have ended."
        )
    if found.kinds["last"].count:
        say(
            f"This also deletes the last numbers, which fencing in the store {report.store} relies on: if it is used again, "
            f"its numbers start at {_FIRST_NUMBER[report.store]} again."
        )


def _of(sample: Sample) -> tuple[str, Text]:
    return f"{sample.count:,}", lines(sample.examples, _EXAMPLE_MAX)
