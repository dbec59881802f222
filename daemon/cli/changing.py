"""The commands that change what stands in the lock store or on the broker, as the shell sees them."""

from typing import Annotated

import typer

from daemon.cli.exit_codes import end, end_of_change
from daemon.cli.options import AsJson, ConfigFile, Conversation, NeededConfigFile, StoreName, Yes

__all__ = ["purge", "release", "repartition"]


def release(
    conversation: Conversation,
    *,
    config: ConfigFile = None,
    force: Annotated[bool, typer.Option("--force", help="Take it from whoever has it. Needed.")] = False,
    ticket: Annotated[
        int | None,
        typer.Option(min=0, metavar="NUMBER", help="Take this one out of the line.", show_default="the holder's"),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who does it: everybody is told.", show_default="user@host")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a lock away from its holder, or a ticket out of the line, and give the next one its turn.

    It shows who has it and asks. The event says who did it; the holder is told, and must stop. What a holder that does not hear
    it still writes is kept out by the fencing token.

    Examples:
    lockstore release user-42 --force
    lockstore release user-42 --force --ticket 7 --yes --by "on call"

    Exit code 0: taken, or nobody has it. 1: not taken. 2: the configuration or the command line is wrong.
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

    end_of_change("release", work)


def purge(
    *,
    config: NeededConfigFile,
    store: Annotated[StoreName, typer.Option(help="The store that was used before.")] = "redis",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show what the lock store that you used before has left in Redis; with --yes, delete it.

    It looks where the section lock_store of the file points: at that server, that database, that key_prefix.
    What belongs to other programs is left alone, and the store that the file names is never purged.

    Example, after a change of the type from redis to concurrent_redis:
    lockstore purge --config endpoints.yml --store redis

    Exit code 0: done, or nothing to do. 1: something is left. 2: the configuration names nothing to purge.
    """
    from daemon.cli import purge as purging

    (end_of_change if yes else end)("purge", lambda: purging.run(config, store, delete=yes, as_json=as_json))


def repartition(*, config: NeededConfigFile, yes: Yes = False, as_json: AsJson = False) -> None:
    """Change the number of partitions of a namespace to broker.partitions of the file.

    Stop all daemons first; publishers may go on. What is in the queues is served in order before they are replaced.
    It may be broken off at any moment; run it again to finish.

    Example, after a change of broker.partitions in the file:
    lockstore repartition --config endpoints.yml --yes

    Exit code 0: done, or nothing to do. 1: something is left to do. 2: the configuration is wrong.
    """
    from daemon.cli import repartition as repartitioning

    (end_of_change if yes else end)("repartition", lambda: repartitioning.run(config, change=yes, as_json=as_json))
