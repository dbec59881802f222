"""The command `lockstore repartition`: shows which request queues stand, and changes their number if told to."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from daemon import layout, logs, settings
from daemon.link import LOST, refusal, told
from daemon.presence import Said
from daemon.repartition import Repartition, StillServedError
from lockstore.errors import ConfigError, StoreError
from lockstore.factory import create_store
from lockstore.memory import InMemoryLockStore

__all__ = ["repartition"]

_DONE, _LEFT, _BAD_CONFIGURATION = 0, 1, 2  # exit codes


@dataclass
class _Report:
    """What there is to tell, however far it came."""

    namespace: str
    wanted: int
    queues: dict[int, layout.Queue] = field(default_factory=dict)
    daemons: list[Said] = field(default_factory=list)
    looked: bool = False
    changed: bool = False
    served: int = 0
    interrupted: bool = False
    error: str | None = None

    @property
    def number(self) -> int:
        """For how many partitions the queues were declared."""
        return layout.number_of(self.queues)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to change: all of these queues stand and no others, or none at all."""
        return not self.queues or self.queues.keys() == set(range(self.wanted))

    @property
    def is_served(self) -> bool:
        """Whether daemons are at work."""
        return any(queue.consumers for queue in self.queues.values())

    @property
    def exit_code(self) -> int:
        """Whether something is left to do that was to be done."""
        return _LEFT if self.interrupted or self.error is not None else _DONE

    def as_json(self) -> str:
        """Write all of it as one object."""
        return json.dumps(
            {
                "namespace": self.namespace,
                "looked": self.looked,
                "partitions": self.number,
                "wanted": self.wanted,
                "messages": {number: queue.messages for number, queue in sorted(self.queues.items())},
                "served": self.is_served,
                "daemons": [{"host": word.host, "pid": word.pid} for word in self.daemons],
                "changed": self.changed,
                "drained": self.served,
                "interrupted": self.interrupted,
                "error": self.error,
            }
        )


def repartition(
    *,
    config: Annotated[
        Path,
        typer.Option("--config", "--endpoints", help="The daemons' YAML file, with the new number.", metavar="FILE"),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Change it. Without it, only look.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Change the number of partitions of a namespace to broker.partitions of the file.

    Stop all daemons first; publishers may go on. What is in the queues is served in order before they are replaced.
    It may be broken off at any moment; run it again to finish.

    Exit code 0: done, or nothing to do. 1: something is left to do. 2: the configuration is wrong.
    """
    logs.set_up("warning")
    try:
        loaded = settings.load(config)
        store = create_store(loaded.lock_store, loaded.daemon.limits, os.environ)
        work = Repartition(loaded, store)
        report = _Report(loaded.broker.namespace, loaded.broker.partitions)
        _run(work, report, yes=yes, show=not as_json)
        if yes and not as_json and report.changed and isinstance(store, InMemoryLockStore):
            _say(
                Console(),
                "The store is in_memory: the tickets that were given out meanwhile have ended with this command.",
            )
    except ConfigError as error:
        typer.echo(f"lockstore repartition: {error}", err=True)
        raise typer.Exit(_BAD_CONFIGURATION) from None
    if as_json:
        typer.echo(report.as_json())
    else:
        _print_end(report, yes=yes)
    raise typer.Exit(report.exit_code)


def _run(work: Repartition, report: _Report, *, yes: bool, show: bool) -> None:
    """Run the work to its end, and note in the report how it ended. Raises ConfigError."""
    try:
        uvloop.run(_work(work, report, yes=yes, show=show))
    except* (StillServedError, StoreError) as group:
        report.error = str(_first(group))
    except* LOST as group:
        if (fault := refusal(group)) is not None:
            raise fault from None
        report.error = f"RabbitMQ: {told(group)}"
    except* ConfigError as group:
        raise _first(group) from None
    except* KeyboardInterrupt:
        report.interrupted = True
    report.served = work.served


async def _work(work: Repartition, report: _Report, *, yes: bool, show: bool) -> None:
    """Look, show, and change if told to."""
    async with work:
        report.queues = await work.look()
        report.looked = True
        if report.is_served:
            report.daemons = await work.daemons()
            report.queues = await work.look()  # those of a daemon that has just stopped may have been counted still
        if show:
            _print_found(report)
        if not yes or not report.queues:
            return
        if report.is_served:
            if not report.is_settled:
                report.error = f"{_served(report)}; stop all of them first, then run this again"
            return
        with _progress() as progress:
            task = progress.add_task("", total=None)
            await work.change(lambda what, done: progress.update(task, description=f"{what}: {done}"))
        report.changed = not report.is_settled


def _first(group: BaseExceptionGroup) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _progress() -> Progress:
    """Make a line that a terminal shows while it changes, and nobody else."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _served(report: _Report) -> str:
    if not report.daemons:
        return "daemons serve this namespace"
    count = len(report.daemons)
    names = ", ".join(sorted(f"{word.host} (pid {word.pid})" for word in report.daemons))
    return f"{count} {'daemon serves' if count == 1 else 'daemons serve'} this namespace: {names}"


def _print_found(report: _Report) -> None:
    console = Console()
    if not report.queues:
        _say(console, f"The namespace {report.namespace} has no request queues on this broker; a daemon declares them.")
        return
    table = Table(box=SIMPLE_HEAD)
    for title in ("partition", "messages", "served"):
        table.add_column(title, justify="right")
    for number, queue in sorted(report.queues.items()):
        table.add_row(str(number), f"{queue.messages:,}", "yes" if queue.consumers else "no")
    _say(console, f"The namespace {report.namespace} has request queues for {_partitions(report.number)}")
    console.print(table)
    if report.is_served:
        _say(console, f"{_served(report)}.")


def _print_end(report: _Report, *, yes: bool) -> None:
    console = Console()
    if report.error is not None:
        typer.echo(f"lockstore repartition: {report.error}", err=True)
    if report.interrupted:
        _say(
            console, "Interrupted. Run this again to go on; until then, what is published may come back as unroutable."
        )
    if not report.looked or report.exit_code != _DONE:
        return
    if report.is_settled:
        _say(console, "There is nothing to change.")
    elif report.changed:
        _say(console, f"Changed to {_partitions(report.wanted)}; {report.served:,} messages were served on the way.")
    elif not yes:
        _say(
            console,
            f"Nothing was changed. Stop all daemons and give --yes to change it to {_partitions(report.wanted)}.",
        )


def _partitions(number: int) -> str:
    return f"{number} {'partition' if number == 1 else 'partitions'}"


def _say(console: Console, text: str) -> None:
    console.print(Text(text))
