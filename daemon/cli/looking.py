"""The commands that look and change nothing, as the shell sees them."""

from typing import Annotated

import typer

from daemon.cli.exit_codes import end
from daemon.cli.options import AsJson, AsJsonLines, ConfigFile, Conversation, DaemonUrl, EventType, SchemaFormat

__all__ = ["check", "doctor", "schema", "show", "status", "watch"]


def status(
    *,
    config: ConfigFile = None,
    lines: Annotated[int, typer.Option(min=0, max=1000, metavar="NUMBER", help="So many of the longest lines.")] = 10,
    daemon: DaemonUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show daemons, request queues, the longest lines, and what is wrong with them.

    Examples:
    lockstore status
    lockstore status --lines 50
    lockstore status --json

    Exit code 0: nothing is wrong. 1: something is, or could not be looked at. 2: the configuration is wrong.
    """
    from daemon.cli import status as statuses

    end("status", lambda: statuses.run(config, daemon, lines, as_json=as_json))


def show(
    conversation: Conversation, *, config: ConfigFile = None, daemon: DaemonUrl = None, as_json: AsJson = False
) -> None:
    """Show one conversation: who holds it, who waits, whether they can still be reached, and what happened last.

    Examples:
    lockstore show user-42
    lockstore show user-42 --json

    Exit code 0: nothing is wrong with it. 1: something is, or it could not be looked at. 2: the configuration is wrong.
    """
    from daemon.cli import arguments
    from daemon.cli import show as showing

    end("show", lambda: showing.run(config, arguments.conversation_id(conversation), daemon, as_json=as_json))


def check(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the configuration, RabbitMQ, the lock store, and a round trip through a running daemon, with timings.

    It works with no daemon running, too, and says so. It declares queues of its own, which go with it, and takes one ticket
    in a conversation called "lockstore check".

    Examples:
    lockstore check --config endpoints.yml
    lockstore check --config endpoints.yml --json

    Exit code 0: nothing has failed. 1: something has. 2: the configuration is wrong.
    """
    from daemon.cli import check as checking

    end("check", lambda: checking.run(config, as_json=as_json))


def doctor(*, config: ConfigFile = None, daemon: DaemonUrl = None, as_json: AsJson = False) -> None:
    """Hold everything against what must always be true: each line, each key in the store, each queue at the broker.

    It changes nothing, and may run while daemons serve. With many conversations it takes a while, and shows how far it is.

    Examples:
    lockstore doctor --config endpoints.yml
    lockstore doctor --json

    Exit code 0: all is as it must be. 1: something is not, or could not be looked at. 2: the configuration is wrong.
    """
    from daemon.cli import doctor as diagnosing

    end("doctor", lambda: diagnosing.run(config, daemon, as_json=as_json))


def watch(
    conversation: Annotated[
        str | None, typer.Argument(metavar="[CONVERSATION]", help="Of this conversation alone.", show_default="all")
    ] = None,
    *,
    config: ConfigFile = None,
    types: Annotated[
        list[EventType] | None,
        typer.Option("--type", help="Of this type alone; may be given more than once.", show_default="all"),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="NUMBER", help="End after so many events.")] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Print the public events as they happen, until Ctrl-C.

    Times are those of the lock store's clock. Events of a time without a connection are missed; it connects again by itself.

    Examples:
    lockstore watch
    lockstore watch user-42 --type granted --type released
    lockstore watch --type expired --json

    Exit code 0: told to stop. 2: the configuration is wrong, or has public events switched off.
    """
    from daemon.cli import arguments
    from daemon.cli import watch as watching

    def work() -> int:
        chosen = None if conversation is None else arguments.conversation_id(conversation)
        selection = watching.Selection(conversation=chosen, types=types or (), count=count)
        return watching.run(config, selection, as_json=as_json)

    end("watch", work)


def schema(
    *,
    format_: Annotated[
        SchemaFormat, typer.Option("--format", help="JSON Schemas of the messages, or AsyncAPI 3 with the whole API.")
    ] = "jsonschema",
) -> None:
    """Print the messages that the daemon takes and sends, for programs and code generators.

    Examples:
    lockstore schema
    lockstore schema --format asyncapi > lockstore.asyncapi.json

    Exit code 0, in any case.
    """
    from daemon.cli import schema as schemas

    end("schema", lambda: schemas.run(format_))
