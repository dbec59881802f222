"""The command line: `lockstore serve`, `lockstore purge`, `lockstore repartition`."""

import asyncio
import os
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop

from daemon import logs, settings
from daemon.purging import purge
from daemon.repartitioning import repartition
from daemon.service import Service
from lockstore.errors import ConfigError
from lockstore.factory import create_store

__all__ = ["main", "run"]

_BAD_CONFIGURATION = 2  # exit code; systemd does not restart on it

app = typer.Typer(add_completion=False, no_args_is_help=True)


def _tell_version(value: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if value:
        typer.echo(version("lockstore"))
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Locks for conversations: first in, first out, with fencing tokens, over RabbitMQ."""


@app.command()
def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", "--endpoints", help="The YAML file; without one, all defaults apply.", metavar="FILE"),
    ] = None,
    log_level: Annotated[logs.LogLevel, typer.Option(help="The least level that is logged.")] = "info",
) -> None:
    """Serve lock requests until SIGTERM or SIGINT; then finish what is under way.

    Exit code 2: the configuration names something impossible.
    """
    logs.set_up(log_level)
    try:
        loaded = settings.load(config)
        service = Service(loaded, create_store(loaded.lock_store, loaded.daemon.limits, os.environ))
        uvloop.run(run(service))
    except ConfigError as error:
        structlog.get_logger().error("daemon.refused", error=str(error))
        raise typer.Exit(_BAD_CONFIGURATION) from None


app.command()(purge)
app.command()(repartition)


async def run(service: Service) -> None:
    """Run a service until the process is told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await service.run(stop)
    except* ConfigError as group:
        raise group.exceptions[0] from None


def main() -> None:
    """Run the command line."""
    app()
