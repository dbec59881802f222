"""The commands that change the lock store or the broker, as the shell sees them."""

from typing import Annotated

import typer

from daemon.cli.exit_codes import end, end_of_change
from daemon.cli.options import AsJson, ConfigFile, Conversation, NeededConfigFile, StoreName, Yes

__all__ = ["purge", "release", "repartition"]


def release(
    conversation: Conversation,
    *,
    config: ConfigFile = None,
    force: Annotated[bool, typer.Option("--force", help="Required: end the lease of the current holder.")] = False,
    ticket: Annotated[
        int | None,
        typer.Option(min=0, metavar="NUMBER", help="Remove this ticket from the line.", show_default="the holder's"),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the operator, published with the event.", show_default="user@host"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """End the holder's lease, or remove a ticket from the line, and grant the next ticket.

    It shows the holder and asks for confirmation. The event names the operator; the holder is notified and must stop. If
    the holder does not receive the event, the fencing token keeps its writes out.

    Examples:
    lockstore release user-42 --force
    lockstore release user-42 --force --ticket 7 --yes --by "on call"

    Exit code 0: released, or there was no holder. 1: not released. 2: the configuration or the command line is wrong.
    """
    from daemon.cli import arguments
    from daemon.cli import release as releasing

    def work() -> int:
        order = releasing.ReleaseRequest(
            conversation=arguments.conversation_id(conversation),
            ticket=ticket,
            by=arguments.operator_name(by),
            is_forced=force,
            is_confirmed=yes,
        )
        return releasing.run(config, order, as_json=as_json)

    end_of_change("release", work, config)


def purge(
    *,
    config: NeededConfigFile,
    store: Annotated[StoreName, typer.Option(help="The store that was previously used.")] = "redis",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show the data that the previously used lock store has left in Redis; with --yes, delete it.

    It scans the server, database and key_prefix configured in the section lock_store. Keys of other programs are never
    deleted, nor is the store that the file configures.

    Example, after a change of the type from redis to concurrent_redis:
    lockstore purge --config endpoints.yml --store redis

    Exit code 0: done, or nothing to do. 1: keys remain. 2: the configuration has nothing to purge.
    """
    from daemon.cli import purge as purging

    (end_of_change if yes else end)("purge", lambda: purging.run(config, store, delete=yes, as_json=as_json), config)


def repartition(*, config: NeededConfigFile, yes: Yes = False, as_json: AsJson = False) -> None:
    """Change the number of partitions of a namespace to broker.partitions of the file.

    Stop all daemons first; publishers may continue. Queued messages are served in order before the queues are replaced. It
    may be interrupted at any time; run it again to finish.

    Example, after a change of broker.partitions in the file:
    lockstore repartition --config endpoints.yml --yes

    Exit code 0: done, or nothing to do. 1: not finished. 2: the configuration is wrong.
    """
    from daemon.cli import repartition as repartitioning

    (end_of_change if yes else end)(
        "repartition", lambda: repartitioning.run(config, change=yes, as_json=as_json), config
    )
