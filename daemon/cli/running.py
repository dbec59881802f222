"""The commands that run something for as long as they live, as the shell sees them."""

from typing import Annotated

import typer

from daemon.cli.exit_codes import end_of_change
from daemon.cli.options import ConfigFile, Conversation, Grace, Holder, Lifetime, LogLevel, Wait

__all__ = ["execute", "serve"]


def serve(
    config: ConfigFile = None,
    log_level: Annotated[LogLevel, typer.Option(help="The least level that is logged.")] = "info",
) -> None:
    """Serve lock requests until SIGTERM or SIGINT; then finish what is under way. SIGHUP: read the file again.

    Example:
    lockstore serve --config endpoints.yml

    Exit code 0: stopped as it was told. 2: the configuration names something impossible.
    """
    from daemon.cli import serve as serving

    end_of_change("serve", lambda: serving.serve(config, log_level))


def execute(
    conversation: Conversation,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run, after --.")],
    *,
    config: ConfigFile = None,
    wait: Wait = None,
    lifetime: Lifetime = None,
    holder: Holder = None,
    grace: Grace = 5,
) -> None:
    """Run a command while its conversation's lock is held.

    The command gets standard input and output, signals, and in its environment LOCKSTORE_TICKET, the fencing token.
    When the lease cannot be kept, it is ended before somebody else can have the lock.

    Examples:
    lockstore exec user-42 -- ./migrate-user 42
    lockstore exec nightly --wait 0 --holder cron -- sh -c 'backup | upload'

    Exit code: the command's own, or 128 and the signal that ended it. 75: the lock was lost, and the command ended.
    124: the turn did not come in time. 125: refused, or failed otherwise. 126: the command cannot be executed.
    127: it is not found. 2: the configuration or the command line is wrong.
    """
    from daemon.cli.exec.supervisor import Supervisor

    if command[0] == "--":  # that before the command, where the first one stands before an id that looks like an option
        command = command[1:]
    with Supervisor(command) as minder:  # before anything large is loaded: the minder is a copy of this process
        from daemon.cli import arguments
        from daemon.cli.exec import run as executing

        def work() -> int:
            wish = executing.ExecRequest(
                conversation=arguments.conversation_id(conversation),
                argv=command,
                wait_s=wait,
                lifetime_s=lifetime,
                holder=arguments.holder_name(holder),
                grace_s=grace,
            )
            return executing.run(config, wish, minder)

        end_of_change("exec", work)
