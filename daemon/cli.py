"""The command line: puts the commands together. What each does is in `daemon.commands`."""

from typing import Annotated

import typer

from daemon.commands import changing, looking, running

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # an error that should not happen is a plain traceback, without anybody's secrets
)


def _tell_version(value: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if value:
        from importlib.metadata import version  # noqa: PLC0415 - takes long, for the one who asks

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


app.command()(running.serve)
app.command("exec")(running.execute)
app.command()(looking.check)
app.command()(looking.status)
app.command()(looking.show)
app.command()(looking.doctor)
app.command()(looking.watch)
app.command()(looking.schema)
app.command()(changing.release)
app.command()(changing.purge)
app.command()(changing.repartition)


def main() -> None:
    """Run the command line."""
    app()
