"""The command line: combines the commands of `daemon.cli`."""

from typing import Annotated

import typer

from daemon.cli import changing, looking, running, streams
from daemon.cli.options import ConversationCommand

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # an unexpected error prints a plain traceback, without local variables and their secrets
)


def _tell_version(value: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if value:
        from importlib.metadata import version  # noqa: PLC0415 - slow to import

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


_RUN, _LOOK, _CHANGE = "Run", "To look", "Change"

app.command(rich_help_panel=_RUN)(running.serve)
app.command("exec", rich_help_panel=_RUN, cls=ConversationCommand)(running.execute)
app.command(rich_help_panel=_LOOK)(looking.check)
app.command(rich_help_panel=_LOOK)(looking.status)
app.command(rich_help_panel=_LOOK, cls=ConversationCommand)(looking.show)
app.command(rich_help_panel=_LOOK)(looking.doctor)
app.command(rich_help_panel=_LOOK, cls=ConversationCommand)(looking.watch)
app.command(rich_help_panel=_LOOK)(looking.schema)
app.command(rich_help_panel=_CHANGE, cls=ConversationCommand)(changing.release)
app.command(rich_help_panel=_CHANGE)(changing.purge)
app.command(rich_help_panel=_CHANGE)(changing.repartition)


def main() -> None:
    """Run the command line."""
    streams.prepare()
    app()
