"""Arguments and options that several commands share: declared once, with one name and meaning."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

__all__ = [
    "AsJson",
    "ConfigFile",
    "Conversation",
    "ConversationCommand",
    "DaemonUrl",
    "Grace",
    "Holder",
    "Lifetime",
    "LogLevel",
    "NeededConfigFile",
    "StoreName",
    "Wait",
    "Yes",
]

CONFIG_VARIABLE = "LOCKSTORE_CONFIG"
"""The environment variable that may contain the file's path."""

_NEGATIVE = re.compile(r"-\d+")
_CONFIG = ("--config", "--endpoints")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        *_CONFIG,
        help="YAML configuration file; without it, all defaults apply.",
        metavar="FILE",
        envvar=CONFIG_VARIABLE,
    ),
]
NeededConfigFile = Annotated[
    Path,
    typer.Option(*_CONFIG, help="The daemon's YAML file, in its new version.", metavar="FILE", envvar=CONFIG_VARIABLE),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Conversation = Annotated[
    str,
    typer.Argument(
        metavar="CONVERSATION",
        help="The conversation id. Put -- before an id that begins with a dash and is not a number.",
    ),
]
DaemonUrl = Annotated[
    str | None,
    typer.Option(
        "--daemon",
        metavar="URL",
        help="Read lines from this daemon, such as http://127.0.0.1:8470, instead of the lock store.",
        show_default="the lock store; with in_memory the address in daemon.http",
    ),
]
Wait = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Maximum time in line; 0: granted immediately or rejected.",
        show_default="the daemon's",
    ),
]
Lifetime = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        help="Lifetime of the lease, which is renewed: how long others wait if this machine fails.",
        show_default="the daemon's",
    ),
]
Holder = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the holder, shown to operators.", show_default="user@host:pid"),
]
Grace = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Time between SIGTERM and SIGKILL when the lease is lost; at most a third of the lease.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Make the change. Without it, only show what would be changed.")]

AsJsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, as in the messages.")]

# Repeated here, because importing the modules that define them takes longer than everything else; a test compares them.
LogLevel = Literal["debug", "info", "warning", "error"]
StoreName = Literal["redis", "concurrent_redis"]
SchemaFormat = Literal["jsonschema", "asyncapi"]


class ConversationCommand(TyperCommand):
    """A command with a conversation id. Negative numbers are ids: Telegram's group ids are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `--` before ids that are negative numbers."""
        end = args.index("--") if "--" in args else len(args)
        before, after = args[:end], args[end + 1 :]
        taking = {name for option in self.params if not getattr(option, "is_flag", True) for name in option.opts}
        options: list[str] = []
        ids: list[str] = []
        given = iter(before)
        for arg in given:
            if arg in taking:
                options += [arg, *[value for value in [next(given, None)] if value is not None]]
            else:
                (options if arg.startswith("-") and not _NEGATIVE.fullmatch(arg) else ids).append(arg)
        if any(map(_NEGATIVE.fullmatch, ids)):
            args = [*options, "--", *ids, *after]
        return super().parse_args(ctx, args)


class EventType(StrEnum):
    """The types of public events. For lists, typer supports choices only through enumerations."""

    QUEUED = "queued"
    GRANTED = "granted"
    RELEASED = "released"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
