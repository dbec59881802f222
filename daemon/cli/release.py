"""`lockstore release --force`: ends a lease, or removes a ticket, on behalf of an operator."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from daemon.cli.exit_codes import PROBLEMS
from daemon.cli.report import Report, attempt, conclude
from daemon.cli.streams import fitting
from daemon.cli.tables import console, say
from daemon.cli.watch import event_line, time_of_day
from daemon.config import settings
from daemon.config.settings import Settings
from daemon.views.text import age
from lockstore.core.commands import ForceRelease
from lockstore.core.events import Event
from lockstore.core.ticket import Ticket
from lockstore.errors import ConfigError
from lockstore.factory import create_store
from lockstore.protocol.codec import encode
from lockstore.protocol.reading import read_outbound
from lockstore.stores.base import LockStore
from lockstore.stores.memory import InMemoryLockStore
from lockstore.util.escaping import escape
from lockstore.util.identity import our_user

__all__ = ["ReleaseRequest", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequest:
    """What to release, and on whose behalf."""

    conversation: str
    ticket: int | None
    by: str | None
    is_forced: bool
    is_confirmed: bool


@dataclass(kw_only=True)
class _Report(Report):
    order: ReleaseRequest
    by: str
    looked: bool = False
    stands: Ticket | None = None
    """The ticket to be released."""
    behind: int = 0
    at_ms: int = 0
    declined: bool = False
    taken: Event | None = None

    @property
    def exit_code(self) -> int:
        """Whether the ticket may still be there, or was not found."""
        is_missing = self.looked and self.stands is None and self.order.ticket is not None
        return PROBLEMS if is_missing or self.declined else super().exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        return {
            "conversation_id": self.order.conversation,
            "by": self.by,
            "stood": self.stands and self.stands.number,
            "taken": self.taken and json.loads(encode(self.taken)),
        }

    def say_end(self) -> None:
        """Print the result."""
        name = escape(self.order.conversation)
        if self.taken is not None:
            event = read_outbound(encode(self.taken))
            console().print(event_line(event, time_of_day(event.at)), soft_wrap=True)
        elif self.declined:
            say("Nothing was done.")
        elif self.looked and self.stands is None:
            wanted = self.order.ticket
            say(f"{name}: {'there is no holder' if wanted is None else f'ticket {wanted} is not in its line'}.")
        elif self.stands is not None and self.error is None:
            say(f"{name}: ticket {self.stands.number} has ended meanwhile.")

    @property
    def question(self) -> str:
        """Return the confirmation question, with what is known about the ticket."""
        ticket = self.stands
        assert ticket is not None  # noqa: S101 - only called if a ticket was found
        claim = ticket.claim
        who = escape(claim.holder) if claim and claim.holder else "an unnamed holder"
        if claim is None or claim.granted_at_ms is None:
            how = "which is waiting"
        else:
            how = f"which has held the lock for {age(self.at_ms - claim.granted_at_ms)}; {self.behind} wait behind it"
        return f"Release ticket {ticket.number} of {escape(self.order.conversation)} from {who}, {how}?"


def run(config: Path | None, order: ReleaseRequest, *, as_json: bool) -> int:
    """Show the ticket, ask, release, and return the exit code. Raises ConfigError."""
    loaded = settings.load(config)
    report = _Report(order=order, by=order.by or our_user())
    _check(loaded, report)
    attempt(report, _look(loaded, report))
    if report.stands is not None:
        report.declined = not (
            order.is_confirmed or typer.confirm(fitting(report.question, sys.stderr.encoding), err=True)
        )
        if not report.declined:
            attempt(report, _take(loaded, report))
    return conclude("release", report, as_json=as_json)


def _check(loaded: Settings, report: _Report) -> None:
    """Validate the arguments and the configuration. Raises ConfigError."""
    order = report.order
    if not order.is_forced:
        raise ConfigError("only the holder can release its lock; add --force to end its lease")
    if not order.is_confirmed and not sys.stdin.isatty():
        raise ConfigError("cannot ask for confirmation, because standard input is not a terminal; add --yes")
    if isinstance(_store_of(loaded), InMemoryLockStore):
        raise ConfigError(
            "lock_store.type: an in_memory store is only accessible to its daemon; "
            "wait for the end of the lease; see it with: lockstore show"
        )
    try:
        ForceRelease(order.conversation, report.by)
    except ValueError as error:
        raise ConfigError(f"--{error}") from None


def _store_of(loaded: Settings) -> LockStore:
    return create_store(loaded.lock_store, loaded.daemon.limits, os.environ)


async def _look(loaded: Settings, report: _Report) -> None:
    """Find the ticket. It is released by its number, so that a later holder cannot lose its lease."""
    store = _store_of(loaded)
    try:
        await store.open()
        lock, report.at_ms = await store.view(report.order.conversation)
    finally:
        await store.close()
    report.looked = True
    tickets = list(lock.tickets) if lock is not None else []
    wanted = report.order.ticket
    report.stands = next((ticket for ticket in tickets if wanted in (None, ticket.number)), None)
    report.behind = max(0, len(tickets) - 1)


async def _take(loaded: Settings, report: _Report) -> None:
    assert report.stands is not None  # noqa: S101 - it was found
    store = _store_of(loaded)
    try:
        await store.open()
        report.taken = await store.force_release(report.order.conversation, report.by, report.stands.number)
    finally:
        await store.close()
