"""`lockstore repartition`: shows the existing request queues, and changes their number with --yes."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.admin.repartition import Repartition
from daemon.broker import request_queues as layout
from daemon.cli import progress
from daemon.cli.exit_codes import OK
from daemon.cli.output import counted
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import say, show
from daemon.cluster.heartbeat import Heartbeat
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from lockstore.factory import create_store
from lockstore.stores.memory import InMemoryLockStore

__all__ = ["run"]


@dataclass(kw_only=True)
class _Report(Report):
    namespace: str
    wanted: int
    change: bool
    keeps: bool
    """Whether the store keeps tickets beyond the end of this process."""
    queues: dict[int, layout.Queue] = field(default_factory=dict)
    daemons: list[Heartbeat] = field(default_factory=list)
    looked: bool = False
    changed: bool = False
    served: int = 0

    @property
    def number(self) -> int:
        """For how many partitions queues were declared."""
        return layout.number_of(self.queues)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to change: exactly these queues exist, or none at all."""
        return not self.queues or self.queues.keys() == set(range(self.wanted))

    @property
    def is_served(self) -> bool:
        """Whether daemons are running."""
        return any(queue.consumers for queue in self.queues.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        return {
            "namespace": self.namespace,
            "looked": self.looked,
            "partitions": self.number,
            "wanted": self.wanted,
            "messages": {number: queue.messages for number, queue in sorted(self.queues.items())},
            "served": self.is_served,
            "daemons": [{"host": word.host, "pid": word.pid} for word in self.daemons],
            "changed": self.changed,
            "drained": self.served,
        }

    def say_end(self) -> None:
        """Print the result."""
        if self.interrupted:
            say(
                "Interrupted. Run this again to continue; until then, published requests may be returned as unroutable."
            )
        if not self.looked or self.exit_code != OK:
            return
        if self.is_settled:
            say("There is nothing to change.")
        elif not self.change:
            say(f"Nothing was changed. Stop all daemons and give --yes to change it to {_partitions(self.wanted)}.")
        elif self.changed:
            say(f"Changed to {_partitions(self.wanted)}; {self.served:,} messages were served meanwhile.")
            if not self.keeps:
                say("The store is in_memory: tickets issued meanwhile ended with this command.")


def run(config: Path, *, change: bool, as_json: bool) -> int:
    """Show the queues, change them if requested, and return the exit code. Raises ConfigError."""
    logs.set_up("warning")
    loaded = settings.load(config)
    store = create_store(loaded.lock_store, loaded.daemon.limits, os.environ)
    work = Repartition(loaded, store)
    report = _Report(
        namespace=loaded.broker.namespace,
        wanted=loaded.broker.partitions,
        change=change,
        keeps=not isinstance(store, InMemoryLockStore),
    )
    return carry_out("repartition", report, _work(work, report, visible=not as_json), as_json=as_json)


async def _work(work: Repartition, report: _Report, *, visible: bool) -> None:
    """Show the queues, and change them if requested."""
    async with work:
        report.queues = await work.look()
        report.looked = True
        if report.is_served:
            report.daemons = await work.daemons()
            report.queues = await work.look()  # those of a daemon that has just stopped may still have been counted
        if visible:
            _show_found(report)
        if not report.change or not report.queues:
            return
        if report.is_served:
            if not report.is_settled:
                report.error = f"{_served(report)}; stop all of them first, then run this again"
            return
        with progress.line() as moving:
            task = moving.add_task("", total=None)

            def note(what: str, done: int) -> None:
                report.served = work.served
                moving.update(task, description=f"{what}: {done}")

            await work.change(note)
        report.served = work.served
        report.changed = not report.is_settled


def _served(report: _Report) -> str:
    if not report.daemons:
        return "daemons serve this namespace"
    count = len(report.daemons)
    names = ", ".join(sorted(f"{word.host} (pid {word.pid})" for word in report.daemons))
    return f"{count} {'daemon serves' if count == 1 else 'daemons serve'} this namespace: {names}"


def _show_found(report: _Report) -> None:
    if not report.queues:
        say(f"The namespace {report.namespace} has no request queues on this broker; a daemon declares them.")
        return
    say(f"The namespace {report.namespace} has request queues for {_partitions(report.number)}")
    rows = [
        (str(number), f"{queue.messages:,}", "yes" if queue.consumers else "no")
        for number, queue in sorted(report.queues.items())
    ]
    show(("partition>", "messages>", "served>"), rows)
    if report.is_served:
        say(f"{_served(report)}.")


def _partitions(number: int) -> str:
    return counted(number, "partition", "partitions")
