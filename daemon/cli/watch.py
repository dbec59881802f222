"""`lockstore watch`: prints the public events as they happen, until it is stopped."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.text import Text

from daemon.cli.client import create_client
from daemon.cli.exit_codes import OK
from daemon.cli.output import print_json
from daemon.cli.remarks import print_client_warnings
from daemon.cli.streams import lost_output
from daemon.cli.tables import console
from daemon.config import settings
from daemon.views import text as words
from lockstore.client import LockClient
from lockstore.errors import ConfigError
from lockstore.protocol.messages import Outbound
from lockstore.util.escaping import escape

__all__ = ["Selection", "event_line", "run", "time_of_day"]

_COLOURS = {"granted": "green", "released": "blue", "expired": "yellow", "cancelled": "magenta", "queued": "cyan"}
_CONVERSATION_WIDTH, _HOLDER_WIDTH = 24, 20  # columns; longer values shift the rest of the line


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The events to print, and their number; None: all events of all conversations, without end."""

    conversation: str | None
    types: Sequence[str]
    count: int | None


def run(config: Path | None, selection: Selection, *, as_json: bool) -> int:
    """Print events, and return the exit code. Raises ConfigError."""
    loaded = settings.load(config)
    if not loaded.daemon.events:
        raise ConfigError("daemon.events: is false, so the daemons publish no events; set it to true")
    print_client_warnings("watch")
    with suppress(asyncio.CancelledError):  # by a signal, which is the normal end
        asyncio.run(_follow(create_client(loaded.broker), selection, as_json=as_json))
    return OK


async def _follow(client: LockClient, selection: Selection, *, as_json: bool) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is a coroutine
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    printed = 0
    async with client as locks:
        events = locks.events(*selection.types, conversation=selection.conversation)
        async with aclosing(events) as happened:
            async for event in happened:
                if as_json:
                    print_json(event.as_dict())
                else:
                    console().print(event_line(event, time_of_day(event.at)), soft_wrap=True)
                printed += 1
                if printed == selection.count or lost_output():
                    return


def time_of_day(at: float) -> str:
    """Format a time on this machine's clock."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "milliseconds")[11:23]


def event_line(event: Outbound, at: str) -> Text:
    """Format an event for display, beginning with its time."""
    said = words.describe_event(event.as_dict())
    return Text.assemble(
        f"{at}  ",
        (f"{event.type:<9}", _COLOURS.get(event.type, "")),
        f"  {escape(event.conversation_id or ''):<{_CONVERSATION_WIDTH}}  #{event.ticket_number}  ",
        f"{escape(event.holder or '-'):<{_HOLDER_WIDTH}}  {escape(said)}",
    )
