"""The command `lockstore purge`: shows what a store that is no longer used has left in Redis, and deletes it if told to."""

import asyncio
import json
import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from daemon import settings
from lockstore.errors import ConfigError, StoreUnavailableError
from lockstore.options import RedisOptions
from lockstore.purge import Deleted, Found, Purge, Sample, StoreName

__all__ = ["purge"]

_DONE, _LEFT, _BAD_CONFIGURATION = 0, 1, 2  # exit codes

_KINDS = {
    "lock": "lines, as Rasa writes them",
    "last": "last numbers issued",
    "memo": "finished requests, events",
    "agenda": "which line to look at when",
    "slots": "slots that have an agenda",
    "line": "numbers in line",
    "tickets": "tickets",
    "requests": "request ids",
    "ended": "finished requests",
    "deadlines": "deadlines",
    "outbox": "events to be announced",
    "history": "runs of Redis",
    "mark": "marks for replicas",
}
_FIRST_NUMBER: dict[StoreName, int] = {"redis": 0, "concurrent_redis": 1}
_EXAMPLE_MAX = 60  # characters of a key that are shown


@dataclass
class _Report:
    """What there is to tell, however far it came."""

    store: StoreName
    options: RedisOptions
    found: Found | None = None
    deleted: Deleted | None = None
    error: str | None = None
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """Whether anything is left that should have gone, or was not even looked at."""
        left = self.deleted is not None and self.deleted.left.count > 0
        return _LEFT if left or self.error is not None or self.interrupted else _DONE

    @property
    def where(self) -> str:
        """The place that is looked at, without a secret."""
        options = self.options
        nodes = ", ".join(f"{node.host}:{node.port}" for node in options.nodes) or "a unix socket"
        kinds = {"standard": "", "cluster": "cluster of ", "sentinel": f"{options.sentinel_service}, as told by "}
        prefix = f"key_prefix {options.key_prefix}" if options.key_prefix else "no key_prefix"
        return f"{kinds[options.deployment_mode]}{nodes}; database {options.database}; {prefix}"

    def as_json(self) -> str:
        """Write all of it as one object."""
        found, deleted = self.found, self.deleted or Deleted()
        kinds = {} if found is None else {kind: asdict(sample) for kind, sample in found.kinds.items() if sample.count}
        return json.dumps(
            {
                "store": self.store,
                "where": self.where,
                "looked": found is not None,
                "keys": 0 if found is None else found.keys,
                "kinds": kinds,
                "live_tickets": 0 if found is None else found.live_tickets,
                "not_ours": {} if found is None else {why: asdict(sample) for why, sample in found.others.items()},
                "deleted": deleted.keys,
                "left": asdict(deleted.left),
                "interrupted": self.interrupted,
                "error": self.error,
            }
        )


def purge(
    *,
    config: Annotated[
        Path, typer.Option("--config", "--endpoints", help="The daemon's YAML file, as it is now.", metavar="FILE")
    ],
    store: Annotated[StoreName, typer.Option(help="The store that was used before.")] = "redis",
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only look.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Show what the lock store that you used before has left in Redis; with --yes, delete it.

    It looks where the section lock_store of the file points: at that server, that database, that key_prefix.
    What belongs to other programs is left alone, and the store that the file names is never purged.

    Example, after a change of the type from redis to concurrent_redis:
    lockstore purge --config endpoints.yml --store redis

    Exit code 0: done, or nothing to do. 1: something is left. 2: the configuration names nothing to purge.
    """
    try:
        work = Purge(settings.load(config).lock_store, store, os.environ)
        report = _Report(store, work.options)
        try:
            uvloop.run(_work(work, report, yes=yes, show=not as_json))
        except StoreUnavailableError as error:
            report.error = str(error)
        except KeyboardInterrupt:
            report.interrupted = True
    except ConfigError as error:
        typer.echo(f"lockstore purge: {error}", err=True)
        raise typer.Exit(_BAD_CONFIGURATION) from None
    if as_json:
        typer.echo(report.as_json())
    else:
        _print_end(report, yes=yes)
    raise typer.Exit(report.exit_code)


async def _work(work: Purge, report: _Report, *, yes: bool, show: bool) -> None:
    """Look, show, and delete if told to. Raises StoreUnavailableError or ConfigError."""
    async with work:
        with _progress() as progress:
            task = progress.add_task("looking at", total=None)
            async with aclosing(work.look()) as looks:
                async for found in looks:
                    progress.update(task, completed=len(found.met))
        report.found = found
        if show:
            _print_found(report, found)
        if yes and found.keys:
            await _delete(work, report, found)


async def _delete(work: Purge, report: _Report, found: Found) -> None:
    """Delete batch by batch. Told to stop, finish the one that is under way, so that it is known what has gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with _progress() as progress:
        task = progress.add_task("deleting", total=found.keys)
        async with aclosing(work.delete(found)) as steps:
            async for deleted in steps:
                report.deleted = deleted
                done = deleted.keys + deleted.left.count
                progress.update(task, completed=done)
                if stop.is_set() and done < found.keys:
                    report.interrupted = True
                    return


def _progress() -> Progress:
    """Make a bar that a terminal shows while it moves, and nobody else."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("keys"))
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _print_found(report: _Report, found: Found) -> None:
    """Show whose keys are there, and what is to be thought of before they go."""
    console = Console()
    _say(console, f"What the store {report.store} has left in Redis ({report.where})")
    if found.keys:
        kinds = [(kind, sample) for kind, sample in found.kinds.items() if sample.count]
        _show(console, ("kind", "what is in it"), [((kind, _KINDS[kind]), sample) for kind, sample in kinds])
    if found.others:
        _say(console, "Left alone: named like this store's keys, but not its own")
        _show(console, ("why",), [((why,), sample) for why, sample in found.others.items()])
    if found.live_tickets:
        live = _count(found.live_tickets, "ticket is", "tickets are")
        _say(
            console,
            f"WARNING: {live} still live. Somebody may hold these conversations, or wait for them, "
            "under the old store. Better wait until they have ended.",
        )
    if found.kinds["last"].count:
        _say(
            console,
            f"The last numbers go too, and with them the fencing of the store {report.store}: if it is ever used again, "
            f"its numbers begin at {_FIRST_NUMBER[report.store]} again.",
        )


def _print_end(report: _Report, *, yes: bool) -> None:
    """Say what was done."""
    console = Console()
    found, deleted = report.found, report.deleted or Deleted()
    if found is None:
        _say(console, "Nothing was deleted.")
    elif not found.keys:
        _say(console, "There is nothing to delete.")
    elif not yes:
        _say(console, f"Nothing was deleted. Give --yes to delete {_count(found.keys, 'key', 'keys')}.")
    else:
        of_all = "" if deleted.keys == found.keys else f" of {found.keys:,}"
        _say(console, f"Deleted: {deleted.keys:,}{of_all} keys.")
    if deleted.left.count:
        names = ", ".join(map(_shown, deleted.left.examples))
        _say(
            console,
            f"Left: {_count(deleted.left.count, 'key', 'keys')}, such as {names}. Something has changed since the look, "
            "so the store is still in use. End what uses it, then run this again.",
        )
    if report.interrupted:
        _say(console, "Interrupted. Run this again to go on.")
    if report.error is not None:
        typer.echo(f"lockstore purge: Redis: {report.error}", err=True)


def _show(console: Console, titles: Sequence[str], rows: Iterable[tuple[Sequence[str], Sample]]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for title in titles:
        table.add_column(title)
    table.add_column("keys", justify="right")
    table.add_column("for example", overflow="fold")
    for cells, sample in rows:
        examples = "\n".join(map(_shown, sample.examples))
        table.add_row(*map(Text, (*cells, f"{sample.count:,}", examples)))
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(Text(text))


def _shown(key: str) -> str:
    """Give a key as a terminal may have it: a name of anybody's may hold anything."""
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in key)
    return text if len(text) <= _EXAMPLE_MAX else f"{text[: _EXAMPLE_MAX - 1]}…"


def _count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"
