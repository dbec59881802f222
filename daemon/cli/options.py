"""The arguments and options that several commands have: each is declared once, so it is called and means the same everywhere."""

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
"""The environment may name the file, so that it need not be typed each time."""

_NEGATIVE = re.compile(r"-\d+")
_CONFIG = ("--config", "--endpoints")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        *_CONFIG, help="The YAML file; without one, all defaults apply.", metavar="FILE", envvar=CONFIG_VARIABLE
    ),
]
NeededConfigFile = Annotated[
    Path, typer.Option(*_CONFIG, help="The daemon's YAML file, as it is now.", metavar="FILE", envvar=CONFIG_VARIABLE)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Conversation = Annotated[
    str,
    typer.Argument(
        metavar="CONVERSATION", help="Its id, as it is. One that begins with a dash and is no number comes after --."
    ),
]
DaemonUrl = Annotated[
    str | None,
    typer.Option(
        "--daemon",
        metavar="URL",
        help="Ask this daemon for lines, as at http://127.0.0.1:8470, and not the lock store.",
        show_default="the lock store; with in_memory the address in daemon.http",
    ),
]
Wait = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="SECONDS", help="In line, at the most; 0: now or not at all.", show_default="the daemon's"
    ),
]
Lifetime = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        help="Of the lease, which is renewed: how long others wait if this machine dies.",
        show_default="the daemon's",
    ),
]
Holder = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who holds it, for operators to see.", show_default="user@host:pid"),
]
Grace = Annotated[
    float,
    typer.Option(
        min=0, metavar="SECONDS", help="Between SIGTERM and SIGKILL when the lease is lost; a third of it at the most."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without it, only look and show.")]

AsJsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, as it is on the wire.")]

# Said here again, because importing the modules that they belong to takes longer than all the rest; a test compares them.
LogLevel = Literal["debug", "info", "warning", "error"]
StoreName = Literal["redis", "concurrent_redis"]
SchemaFormat = Literal["jsonschema", "asyncapi"]


class ConversationCommand(TyperCommand):
    """A command that takes a conversation id. Negative numbers are ids: those of groups in Telegram are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move ids that are negative numbers behind `--`."""
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
    """The types of public events. Of a list, typer takes no other choices than those of an enumeration."""

    QUEUED = "queued"
    GRANTED = "granted"
    RELEASED = "released"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
