"""The commands that run until they are stopped, as the shell sees them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from daemon.cli.exit_codes import end_of_change
from daemon.cli.options import ConfigFile, Conversation, Grace, Holder, Lifetime, LogLevel, Wait

__all__ = ["execute", "serve"]


@contextmanager
def _without_rich() -> Iterator[None]:
    """Import without rich. structlog would, for tracebacks that our log writes itself: an eighth of a daemon's start."""
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # which `import` takes for a package that is not installed
    try:
        yield
    finally:
        del sys.modules["rich"]


def serve(
    config: ConfigFile = None,
    log_level: Annotated[LogLevel, typer.Option(help="Minimum level of logged events.")] = "info",
) -> None:
    """Serve lock requests until SIGTERM or SIGINT, then finish accepted work. SIGHUP reloads the file.

    Example:
    lockstore serve --config endpoints.yml

    Exit code 0: stopped by a signal. 2: the configuration is invalid.
    """
    with _without_rich():
        from daemon.cli import serve as serving

    end_of_change("serve", lambda: serving.serve(config, log_level))


def execute(
    conversation: Conversation,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="Command to run, after --.")],
    *,
    config: ConfigFile = None,
    wait: Wait = None,
    lifetime: Lifetime = None,
    holder: Holder = None,
    grace: Grace = 5,
) -> None:
    """Run a command while its conversation's lock is held.

    The command gets standard input and output, signals, and the fencing token in LOCKSTORE_TICKET. If the lease cannot be
    renewed, the command is terminated before another holder can be granted.

    Examples:
    lockstore exec user-42 -- ./migrate-user 42
    lockstore exec nightly --wait 0 --holder cron -- sh -c 'backup | upload'

    Exit code: the command's own, or 128 plus the signal that ended it. 75: the lock was lost, and the command was
    terminated. 124: the wait expired. 125: rejected, or another error. 126: the command cannot be executed. 127: it was not
    found. 2: the configuration or the command line is wrong.
    """
    from daemon.cli.exec.supervisor import Supervisor

    if command[0] == "--":  # the -- before the command, if another one precedes an id that looks like an option
        command = command[1:]
    with Supervisor(command) as supervisor:  # before large imports, because it is a fork of this process
        from daemon.cli import arguments
        from daemon.cli.exec import run as executing

        def work() -> int:
            request = executing.ExecRequest(
                conversation=arguments.conversation_id(conversation),
                argv=command,
                wait_s=wait,
                lifetime_s=lifetime,
                holder=arguments.holder_name(holder),
                grace_s=grace,
            )
            return executing.run(config, request, supervisor)

        end_of_change("exec", work, config)
