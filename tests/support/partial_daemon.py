"""A daemon that works on partition 0 alone, whatever it is configured for: `python -m tests.support.partial_daemon serve ...`."""

from collections.abc import Iterable

from daemon.broker.connection import FilteredConnection
from daemon.cli import app as cli
from daemon.serving.session import Session

_open = Session.open


async def open_one(session: Session, connection: FilteredConnection, partitions: Iterable[int]) -> None:
    await _open(session, connection, [0])


Session.open = open_one  # type: ignore[assignment, method-assign]
cli.main()
