"""Looks over the shoulder of every store test, and says at its end what no test may break."""

import re
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from lockstore.core.commands import Command, Finish, Issue
from lockstore.core.events import Event
from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore
from lockstore.stores.results import Outcome, Turn
from tests.stores.table import line_of

KNOWN_KEYS = re.compile(
    rb"\w+:("
    rb"lock:.+|lockstore:(agenda|history)(:\{\w+\})?|lockstore:slots|lockstore:(last|memo):\{\w+\}:.+"
    rb"|concurrent_lock:\{\d+\}:((last|line|tickets|requests|ended|events):.+|deadlines|outbox|history|lines|waiting)"
    rb")",
    re.DOTALL,
)


class Witness:
    """Knows every number that was issued in a test, and to whom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stores: list[LockStore] = []
        self.owners: dict[tuple[str, int], str] = {}
        self.conversations: set[str] = set()
        self._monkeypatch = monkeypatch
        self._direct = (f"direct ticket {place}" for place in count())

    def watch(self, store: LockStore) -> None:
        """See what this store issues from now on."""
        apply, act, enter = store.apply, store.act, store.enter

        async def watched_apply(commands: Sequence[Command]) -> list[Outcome]:
            self.conversations |= {command.conversation_id for command in commands}
            outcomes = await apply(commands)
            for outcome in outcomes:
                if not isinstance(outcome, ConversationError):
                    for notice in outcome:
                        self._see(notice.event)
            return outcomes

        async def watched_act(command: Issue | Finish) -> int:
            self.conversations.add(command.conversation_id)
            number = await act(command)
            if isinstance(command, Issue):
                self._issued(command.conversation_id, number, next(self._direct))
            return number

        self._monkeypatch.setattr(store, "apply", watched_apply)

        async def watched_enter(conversation_id: str, lifetime_ms: int) -> tuple[int, Turn]:
            self.conversations.add(conversation_id)
            number, turn = await enter(conversation_id, lifetime_ms)
            self._issued(conversation_id, number, next(self._direct))
            return number, turn

        self._monkeypatch.setattr(store, "act", watched_act)
        self._monkeypatch.setattr(store, "enter", watched_enter)
        self.stores.append(store)

    def _see(self, event: Event) -> None:
        of_a_request = event.request_id is not None  # an operator may take a direct ticket, too
        if of_a_request and event.number is not None and type(event).__name__ != "Rejected":
            self._issued(event.conversation_id, event.number, f"request {event.request_id}")

    def _issued(self, conversation_id: str, number: int, owner: str) -> None:
        known = self.owners.setdefault((conversation_id, number), owner)
        # A request id that was forgotten may come again; a number may not.
        assert known == owner, f"#{number} of {conversation_id!r} was given to {known} and then to {owner}"

    def lets_begin_anew(self, conversation_id: str) -> None:
        """Take it that this conversation's numbers were let go of, as a user's own store may do with a lock that is deleted."""
        self.owners = {known: owner for known, owner in self.owners.items() if known[0] != conversation_id}

    async def check_lines(self) -> None:
        """At most one ticket of a line is granted, it is the first, and numbers rise along the line."""
        for store in self.stores:
            for conversation_id in self.conversations:
                try:
                    check_line(await line_of(store, conversation_id))
                except ConversationError:
                    continue  # a test spoilt this one


def check_line(lock: TicketLock | None) -> None:
    """Hold one line against what is true of every line."""
    if lock is None:
        return
    numbers = [ticket.number for ticket in lock.tickets]
    assert numbers == sorted(set(numbers)), f"numbers do not rise: {lock}"
    granted = [ticket.number for ticket in lock.tickets if ticket.claim and ticket.claim.granted_at_ms is not None]
    assert granted in ([], numbers[:1]), f"granted, and not alone at the head: {lock}"
    requests = [ticket.claim.request_id for ticket in lock.tickets if ticket.claim]
    assert len(requests) == len(set(requests)), f"two tickets of one request: {lock}"


def check_keys(client: Any, before: set[bytes], prefix: str, longest_ms: int) -> None:
    """What a test left on Redis has its prefix and a name that is known, and what has a life has a short one."""
    new = {key for key in client.scan_iter() if not key.startswith(b"clock:")} - before
    strange = {key for key in new if not (key.startswith(f"{prefix}:".encode()) and KNOWN_KEYS.fullmatch(key))}
    assert not strange
    for key in new:
        assert client.pttl(key) <= longest_ms, f"{key!r} lives too long"
    if new:
        client.delete(*new)
