"""A machine that plays the same commands on the Python rules and on the Lua scripts of a real Redis.

After every step both must have told the same events and have the same line, and the line must be a lawful one. Time moves
between the steps, on one clock for both.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lockstore.commands import Command, Expire, Finish, Issue, Release, Renew, Request, Settle, Withdraw
from lockstore.concurrent import ConcurrentRedisLockStore
from lockstore.errors import ConversationError
from lockstore.events import Event, Granted, Rejected
from lockstore.line import Limits
from lockstore.options import RedisOptions
from lockstore.rules import apply
from lockstore.ticket import Sender, TicketLock
from tests.stores.witness import check_line

LIMITS = Limits(max_waiting=4, dedup_window_ms=5000)

conversation_ids = st.sampled_from(["c", "user:{42}*", "a}b", "😀 1:2|3"])
request_ids = st.sampled_from("abcdefgh")
lifetimes_ms = st.sampled_from([1, 100, 1000, 3000])
waits_ms = st.sampled_from([0, 1, 500, 4000])
queues = st.sampled_from([None, "q1", "q2"])
users = st.sampled_from([None, None, "alice", "bob"])
senders = st.builds(Sender, queues, st.sampled_from([None, "k"]), users, st.none())
back = st.integers(min_value=-1, max_value=5)
"""How far behind the last issued number the ticket is that a command names; -1 is the next one, never issued."""

_names = count()


class LineMachine(RuleBasedStateMachine):
    """One conversation, twice."""

    seen: set[str]  # kinds of events, and reasons of rejections, over all runs

    def __init__(self, port: int, tick: Callable[[int], None], start_ms: int, seen: set[str]) -> None:
        super().__init__()
        self.port, self.tick, self.now_ms, self.seen = port, tick, start_ms, seen
        self.runner = asyncio.Runner()
        self.highest = 0
        self.given: dict[int, str | None] = {}  # every number, and the request that it was given to

    @initialize(conversation_id=conversation_ids)
    def begin(self, conversation_id: str) -> None:
        self.store = ConcurrentRedisLockStore(RedisOptions(port=self.port, db=1, key_prefix=f"machine{next(_names)}"))
        self.store.limits = LIMITS
        self.runner.run(self.store.open())
        self.lock = TicketLock(conversation_id, None, 0)  # the scripts begin with number 1
        self.tick(self.now_ms)

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()

    # --- one step ----------------------------------------------------------------------------------------------------

    def play(self, command: Command) -> None:
        """Apply a command on both sides, and compare what was told and what is there."""
        self.lock, events = apply(self.lock, command, self.now_ms, LIMITS)
        if isinstance(command, Issue | Finish):
            number = self.runner.run(self.store.act(command))
            if isinstance(command, Issue):
                assert number == self.lock.last_number
                self.given[number] = None
        else:
            (outcome,) = self.runner.run(self.store.apply([command]))
            assert not isinstance(outcome, ConversationError)
            assert tuple(notice.event for notice in outcome) == events
            kept = [notice.entry for notice in outcome if notice.entry]
            self.runner.run(self.store.confirm(kept))
        self.witness(events)
        self.compare_lines()

    def compare_lines(self) -> None:
        theirs: TicketLock | None = self.runner.run(self.store.get_lock(self.lock.conversation_id))
        assert list(theirs.tickets if theirs else ()) == list(self.lock.tickets)
        if theirs:
            assert theirs.last_number == self.lock.last_number

    def witness(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self.seen.add(event.reason if isinstance(event, Rejected) else type(event).__name__)
            assert event.conversation_id == self.lock.conversation_id
            assert event.at_ms == self.now_ms
            if isinstance(event, Rejected):
                continue
            assert event.number is not None
            owner = self.given.setdefault(event.number, event.request_id)
            assert owner == event.request_id, "a number was given twice"
            assert event.number <= (self.lock.last_number or 0), "nobody issued this number"

    def number(self, back: int) -> int:
        return max(1, (self.lock.last_number or 0) - back)

    # --- what may happen ---------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 50, 499, 500, 1500, 6000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        self.tick(self.now_ms)

    @rule(request_id=request_ids, lifetime_ms=lifetimes_ms, wait_ms=waits_ms, sender=senders)
    def request(self, request_id: str, lifetime_ms: int, wait_ms: int, sender: Sender) -> None:
        self.play(Request(self.lock.conversation_id, request_id, lifetime_ms, wait_ms, "bot", sender))

    @rule(sender=senders)
    def many_request(self, sender: Sender) -> None:
        for request_id in "stuvw":
            self.play(Request(self.lock.conversation_id, request_id, 1000, 4000, None, sender))

    @rule(back=back, sender=senders)
    def release_a_number(self, back: int, sender: Sender) -> None:
        self.play(Release(self.lock.conversation_id, self.number(back), None, sender))

    @rule(request_id=request_ids, sender=senders)
    def release_a_request(self, request_id: str, sender: Sender) -> None:
        self.play(Release(self.lock.conversation_id, None, request_id, sender))

    @rule(back=back, request_id=request_ids, sender=senders)
    def release_both(self, back: int, request_id: str, sender: Sender) -> None:
        self.play(Release(self.lock.conversation_id, self.number(back), request_id, sender))

    @rule(sender=senders)
    def release_the_head(self, sender: Sender) -> None:
        if self.lock.tickets:
            self.play(Release(self.lock.conversation_id, self.lock.tickets[0].number, None, sender))

    @rule(back=back, lifetime_ms=st.none() | lifetimes_ms, sender=senders)
    def renew_a_number(self, back: int, lifetime_ms: int | None, sender: Sender) -> None:
        self.play(Renew(self.lock.conversation_id, self.number(back), None, lifetime_ms, sender))

    @rule(request_id=request_ids, lifetime_ms=st.none() | lifetimes_ms, sender=senders)
    def renew_a_request(self, request_id: str, lifetime_ms: int | None, sender: Sender) -> None:
        self.play(Renew(self.lock.conversation_id, None, request_id, lifetime_ms, sender))

    @rule(back=back)
    def expire(self, back: int) -> None:
        self.play(Expire(self.lock.conversation_id, self.number(back)))

    @rule(back=back, queue=st.sampled_from(["q1", "q2"]))
    def withdraw(self, back: int, queue: str) -> None:
        self.play(Withdraw(self.lock.conversation_id, self.number(back), queue))

    @rule(lifetime_ms=lifetimes_ms)
    def issue(self, lifetime_ms: int) -> None:
        self.play(Issue(self.lock.conversation_id, lifetime_ms))

    @rule(back=back)
    def finish(self, back: int) -> None:
        self.play(Finish(self.lock.conversation_id, self.number(back)))

    @rule()
    def settle(self) -> None:
        self.play(Settle(self.lock.conversation_id))

    @rule(back=back)
    def look_whose_turn_it_is(self, back: int) -> None:
        """What a waiting bot does; on both sides it is an Expire that tells how the line stands."""
        number = self.number(back)
        turn = self.runner.run(self.store.turn(self.lock.conversation_id, number))
        self.lock, events = apply(self.lock, Expire(self.lock.conversation_id, number), self.now_ms, LIMITS)
        self.witness(events)
        self.compare_lines()
        assert turn.head == (self.lock.tickets[0].number if self.lock.tickets else None)
        assert turn.stands == any(ticket.number == number for ticket in self.lock.tickets)

    @rule()
    def sweep(self) -> None:
        """What a daemon does about deadlines: afterwards nothing in the line is overdue."""
        shard = self.store.shard_of(self.lock.conversation_id)
        found = self.runner.run(self.store.patrol([shard], 10**6))
        overdue = {ticket.number for ticket in self.lock.tickets if ticket.expires_ms <= self.now_ms}
        assert {command.number for command in found.overdue} == overdue
        for command in found.overdue:
            self.play(command)
        assert all(ticket.expires_ms > self.now_ms for ticket in self.lock.tickets)

    # --- what is always true -----------------------------------------------------------------------------------------

    @invariant()
    def at_most_one_is_granted_and_it_is_the_first(self) -> None:
        check_line(self.lock)

    @invariant()
    def no_ready_head_is_without_a_grant(self) -> None:
        head = self.lock.tickets[0] if self.lock.tickets else None
        assert head is None or head.claim is None or head.claim.granted_at_ms is not None

    @invariant()
    def numbers_only_rise(self) -> None:
        last = self.lock.last_number or 0
        assert last >= self.highest
        self.highest = last

    @invariant()
    def every_request_has_one_ticket_at_most(self) -> None:
        live = [ticket.claim.request_id for ticket in self.lock.tickets if ticket.claim]
        over = [ended.request_id for ended in self.lock.ended if ended.forget_at_ms > self.now_ms]
        assert len(live + over) == len(set(live + over))


EVERYTHING: frozenset[Any] = frozenset(
    {"Queued", "Granted", "Renewed", "Released", "Expired", "Cancelled"}
    | {"busy", "line_full", "finished", "unknown_ticket", "forbidden", "invalid"}
)
