"""The commands that run something for as long as they live, as the shell sees them."""

from typing import Annotated

import typer

from daemon.commands.ends import end
from daemon.commands.options import ConfigFile, LogLevel

__all__ = ["serve"]


def serve(
    config: ConfigFile = None,
    log_level: Annotated[LogLevel, typer.Option(help="The least level that is logged.")] = "info",
) -> None:
    """Serve lock requests until SIGTERM or SIGINT; then finish what is under way.

    Example:
    lockstore serve --config endpoints.yml

    Exit code 0: stopped as it was told. 2: the configuration names something impossible.
    """
    from daemon.commands import serving

    end("serve", lambda: serving.serve(config, log_level))
