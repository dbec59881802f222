"""The read-only commands, as the shell sees them."""

from typing import Annotated

import typer

from daemon.cli.exit_codes import end
from daemon.cli.options import AsJson, AsJsonLines, ConfigFile, Conversation, DaemonUrl, EventType, SchemaFormat

__all__ = ["check", "doctor", "schema", "show", "status", "watch"]


def status(
    *,
    config: ConfigFile = None,
    lines: Annotated[
        int, typer.Option(min=0, max=1000, metavar="NUMBER", help="Number of longest lines to show.")
    ] = 10,
    daemon: DaemonUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show daemons, request queues, the longest lines, and their problems.

    Examples:
    lockstore status
    lockstore status --lines 50
    lockstore status --json

    Exit code 0: no problems. 1: problems were found, or something could not be read. 2: the configuration is wrong.
    """
    from daemon.cli import arguments
    from daemon.cli import status as statuses

    end("status", lambda: statuses.run(config, arguments.daemon_url(daemon), lines, as_json=as_json), config)


def show(
    conversation: Conversation, *, config: ConfigFile = None, daemon: DaemonUrl = None, as_json: AsJson = False
) -> None:
    """Show one conversation: its holder, its waiters, whether their reply queues exist, and its last events.

    Examples:
    lockstore show user-42
    lockstore show user-42 --json

    Exit code 0: no problems. 1: problems were found, or it could not be read. 2: the configuration is wrong.
    """
    from daemon.cli import arguments
    from daemon.cli import show as showing

    def work() -> int:
        url = arguments.daemon_url(daemon)
        return showing.run(config, arguments.conversation_id(conversation), url, as_json=as_json)

    end("show", work, config)


def check(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the configuration, RabbitMQ, the lock store, and a round trip through a running daemon, with timings.

    It also works without a running daemon, and reports that. It declares temporary queues, and issues one ticket in a
    conversation called "lockstore check".

    Examples:
    lockstore check --config endpoints.yml
    lockstore check --config endpoints.yml --json

    Exit code 0: no check has failed. 1: a check has failed. 2: the configuration is wrong.
    """
    from daemon.cli import check as checking

    end("check", lambda: checking.run(config, as_json=as_json), config)


def doctor(*, config: ConfigFile = None, daemon: DaemonUrl = None, as_json: AsJson = False) -> None:
    """Audit every line, key and queue for inconsistencies.

    It changes nothing, and may run while daemons serve. With many conversations it takes a while, and shows its progress.

    Examples:
    lockstore doctor --config endpoints.yml
    lockstore doctor --json

    Exit code 0: no problems. 1: problems were found, or something could not be read. 2: the configuration is wrong.
    """
    from daemon.cli import arguments
    from daemon.cli import doctor as diagnosing

    end("doctor", lambda: diagnosing.run(config, arguments.daemon_url(daemon), as_json=as_json), config)


def watch(
    conversation: Annotated[
        str | None,
        typer.Argument(metavar="[CONVERSATION]", help="Only events of this conversation.", show_default="all"),
    ] = None,
    *,
    config: ConfigFile = None,
    types: Annotated[
        list[EventType] | None,
        typer.Option("--type", help="Only events of this type; may be repeated.", show_default="all"),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="Stop after this number of events.")
    ] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Print the public events as they happen, until Ctrl-C.

    Times are those of the lock store's clock. It reconnects automatically; events are missed while there is no connection.

    Examples:
    lockstore watch
    lockstore watch user-42 --type granted --type released
    lockstore watch --type expired --json

    Exit code 0: stopped by a signal. 2: the configuration is wrong, or disables public events.
    """
    from daemon.cli import arguments
    from daemon.cli import watch as watching

    def work() -> int:
        chosen = None if conversation is None else arguments.conversation_id(conversation)
        selection = watching.Selection(conversation=chosen, types=types or (), count=count)
        return watching.run(config, selection, as_json=as_json)

    end("watch", work, config)


def schema(
    *,
    format_: Annotated[
        SchemaFormat, typer.Option("--format", help="JSON Schemas of the messages, or AsyncAPI 3 with the whole API.")
    ] = "jsonschema",
) -> None:
    """Print the schemas of all messages, for programs and code generators.

    Examples:
    lockstore schema
    lockstore schema --format asyncapi > lockstore.asyncapi.json

    Exit code 0, in any case.
    """
    from daemon.cli import schema as schemas

    end("schema", lambda: schemas.run(format_))
