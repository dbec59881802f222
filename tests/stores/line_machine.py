"""A machine that plays the same commands on the Python rules and on the Lua scripts of a real Redis.

After every step both must have told the same events and have the same line, and the line must be a lawful one. Time moves
between the steps, on one clock for both.
"""

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lockstore.core.commands import (
    Command,
    Expire,
    Finish,
    ForceRelease,
    Issue,
    Release,
    Renew,
    Request,
    Settle,
    Withdraw,
)
from lockstore.core.events import Event, Rejected, from_history
from lockstore.core.line import Limits, history_at
from lockstore.core.rules import apply
from lockstore.core.ticket import NO_SENDER, Sender, TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.connection.options import RedisOptions
from tests.stores.clock import Clock
from tests.stores.witness import check_line

LIMITS = Limits(max_waiting=4, dedup_window_ms=700, history=6, history_keep_ms=1500)

# Few values, so that commands meet: the same request id again, one ticket's deadline at another's, ...
conversation_ids = st.sampled_from(["c", "user:{42}*", "a}b", "😀 1:2|3"])
request_ids = st.sampled_from("abcdef")
lifetimes_ms = st.sampled_from([1, 100, 1000])
waits_ms = st.sampled_from([4000, 4000, 500, 0])
senders = st.builds(
    Sender,
    reply_to=st.sampled_from(["q1", "q1", "q2", None]),
    correlation_id=st.sampled_from([None, "k"]),
    user_id=st.sampled_from([None, None, "alice", "bob"]),
)
askers = st.none() | senders
"""Who releases or renews; None: the requester itself."""

Which = Literal["overdue", "next"] | int
which: st.SearchStrategy[Which] = st.sampled_from(["overdue", "overdue", 0, 1, 2, 3, "next"])
"""The ticket that a command names: so far behind the last issued one; or one whose deadline came and that nobody has
ended yet, the most delicate kind; or the one that will be issued next."""

Named = tuple[Which | None, str | None]
named: st.SearchStrategy[Named] = (
    st.tuples(which, st.none()) | st.tuples(st.none(), request_ids) | st.tuples(which, request_ids)
)

Moment = Literal["now", "soon", "just before", "exactly", "forgotten", "much later"]
moments: st.SearchStrategy[Moment] = st.sampled_from(
    ["now", "now", "now", "soon", "just before", "exactly", "exactly", "forgotten", "much later"]
)
"""When a command comes: by how much the clock moves before it, or to which deadline."""

PREFIX = "machine"
"""What the prefix of every game begins with."""

_names = count()


class LineMachine(RuleBasedStateMachine):
    """One conversation, twice."""

    def __init__(self, options: Mapping[str, Any], clock: Clock, seen: set[str]) -> None:
        super().__init__()
        self.options, self.clock, self.now_ms = options, clock, clock.start_ms
        self.seen = seen  # kinds of events, and reasons of rejections, over all games
        self.runner = asyncio.Runner()
        self.highest = 0
        self.given: dict[int, str | None] = {}  # every number, and the request that it was given to

    @initialize(conversation_id=conversation_ids)
    def begin(self, conversation_id: str) -> None:
        self.store = ConcurrentRedisLockStore(RedisOptions(**self.options, key_prefix=f"{PREFIX}{next(_names)}"))
        self.store.limits = LIMITS
        self.runner.run(self.store.open())
        self.lock = TicketLock(conversation_id, None, 0)  # the scripts begin with number 1
        self.clock.set(self.now_ms)

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
        name = self.lock.conversation_id
        theirs: TicketLock | None = self.runner.run(self.store.get_lock(name))
        assert list(theirs.tickets if theirs else ()) == list(self.lock.tickets)
        if theirs:
            assert theirs.last_number == self.lock.last_number
        kept = history_at(self.now_ms, self.lock.history, LIMITS)
        assert self.runner.run(self.store.history(name)) == [from_history(name, entry) for entry in kept]
        self.look_into_the_index()

    def look_into_the_index(self) -> None:
        """The line is in its shard's index as long as it is; where somebody waits, a time at which nobody waited longer."""
        name, tickets = self.lock.conversation_id, self.lock.tickets
        _, lines, waiting = self.store._keys.of_index(self.store._keys.shard_of(name))
        asked = [("ZSCORE", lines, name), ("ZSCORE", waiting, name)]
        length, since_ms = self.runner.run(self.store._servers.ask_all(asked))
        assert length == (-len(tickets) if tickets else None)
        assert (since_ms is None) == (len(tickets) < 2)
        if since_ms is not None:
            second = tickets[1].claim
            assert since_ms <= (second.queued_at_ms if second else self.now_ms)

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

    def number(self, which: Which) -> int:
        """Find the ticket that is meant; where no one is overdue, the last one stands in."""
        last = self.lock.last_number or 0
        if which == "next":
            return last + 1
        if which == "overdue":
            overdue = [ticket.number for ticket in self.lock.tickets if ticket.expires_ms <= self.now_ms]
            return overdue[-1] if overdue else max(1, last)
        return max(1, last - which)

    def as_asked(self, asker: Sender | None, named: tuple[int | None, str | None]) -> Sender:
        """Find who sends a release or renewal."""
        claims = [ticket.claim for ticket in self.lock.tickets if ticket.claim and ticket.number == named[0]]
        claims += [ticket.claim for ticket in self.lock.tickets if ticket.claim and ticket.claim.request_id == named[1]]
        return asker or (claims[0].sender if claims else NO_SENDER)

    def names(self, named: Named) -> tuple[int | None, str | None]:
        """Find what a release or renewal names."""
        which, request_id = named
        return (None if which is None else self.number(which)), request_id

    # --- when --------------------------------------------------------------------------------------------------------

    def pass_to(self, moment: Moment) -> None:
        """Let time pass: a little, to the next deadline in line, or to when something remembered is forgotten."""
        deadlines = [ticket.expires_ms for ticket in self.lock.tickets if ticket.expires_ms > self.now_ms]
        forgetting = [ended.forget_at_ms for ended in self.lock.ended if ended.forget_at_ms > self.now_ms]
        self.now_ms = {
            "now": self.now_ms,
            "soon": self.now_ms + 50,
            "just before": min(deadlines, default=self.now_ms + 1) - 1,
            "exactly": min(deadlines, default=self.now_ms),
            "forgotten": min(forgetting, default=self.now_ms),
            "much later": self.now_ms + 2000,
        }[moment]
        self.clock.set(self.now_ms)

    # --- what may happen ---------------------------------------------------------------------------------------------

    @rule(when=moments, request_id=request_ids, lifetime_ms=lifetimes_ms, wait_ms=waits_ms, sender=senders)
    def request(self, when: Moment, request_id: str, lifetime_ms: int, wait_ms: int, sender: Sender) -> None:
        self.pass_to(when)
        self.play(Request(self.lock.conversation_id, request_id, lifetime_ms, wait_ms, "bot", sender))

    @rule(when=moments, wait_ms=waits_ms)
    def many_request(self, when: Moment, wait_ms: int) -> None:
        self.pass_to(when)
        for request_id in "abcde":
            self.play(Request(self.lock.conversation_id, request_id, 1000, wait_ms, None, Sender("q1")))

    @rule(when=moments, named=named, asker=askers)
    def release(self, when: Moment, named: Named, asker: Sender | None) -> None:
        self.pass_to(when)
        number, request_id = self.names(named)
        sender = self.as_asked(asker, (number, request_id))
        self.play(Release(self.lock.conversation_id, number, request_id, sender))

    @rule(when=moments, request_id=request_ids, sender=senders)
    def release_by_request(self, when: Moment, request_id: str, sender: Sender) -> None:
        """More often than not too early, or too late."""
        self.pass_to(when)
        self.play(Release(self.lock.conversation_id, None, request_id, sender))

    @rule(when=moments)
    def release_the_head(self, when: Moment) -> None:
        self.pass_to(when)
        head = self.lock.tickets[0].claim if self.lock.tickets else None
        if head:
            self.play(Release(self.lock.conversation_id, None, head.request_id, head.sender))

    @rule(when=moments, named=named, lifetime_ms=st.none() | lifetimes_ms, asker=askers)
    def renew(self, when: Moment, named: Named, lifetime_ms: int | None, asker: Sender | None) -> None:
        self.pass_to(when)
        number, request_id = self.names(named)
        sender = self.as_asked(asker, (number, request_id))
        self.play(Renew(self.lock.conversation_id, number, request_id, lifetime_ms, sender))

    @rule(when=moments, lifetime_ms=st.none() | lifetimes_ms)
    def renew_the_head(self, when: Moment, lifetime_ms: int | None) -> None:
        self.pass_to(when)
        head = self.lock.tickets[0].claim if self.lock.tickets else None
        if head:
            self.play(Renew(self.lock.conversation_id, None, head.request_id, lifetime_ms, head.sender))

    @rule(when=moments, which=which)
    def expire(self, when: Moment, which: Which) -> None:
        self.pass_to(when)
        self.play(Expire(self.lock.conversation_id, self.number(which)))

    @rule(when=moments, which=which, queue=st.sampled_from(["q1", "q2"]))
    def withdraw(self, when: Moment, which: Which, queue: str) -> None:
        self.pass_to(when)
        self.play(Withdraw(self.lock.conversation_id, self.number(which), queue))

    @rule(when=moments, which=st.none() | which)
    def seize(self, when: Moment, which: Which | None) -> None:
        self.pass_to(when)
        self.play(ForceRelease(self.lock.conversation_id, "anna", None if which is None else self.number(which)))

    @rule(when=moments, lifetime_ms=lifetimes_ms)
    def issue(self, when: Moment, lifetime_ms: int) -> None:
        self.pass_to(when)
        self.play(Issue(self.lock.conversation_id, lifetime_ms))

    @rule(when=moments, which=which)
    def finish(self, when: Moment, which: Which) -> None:
        self.pass_to(when)
        self.play(Finish(self.lock.conversation_id, self.number(which)))

    @rule(when=moments)
    def settle(self, when: Moment) -> None:
        self.pass_to(when)
        self.play(Settle(self.lock.conversation_id))

    @rule(when=moments, which=which)
    def look_whose_turn_it_is(self, when: Moment, which: Which) -> None:
        """What a waiting bot does; on both sides it is an Expire that tells how the line stands."""
        self.pass_to(when)
        number = self.number(which)
        turn = self.runner.run(self.store.turn(self.lock.conversation_id, number))
        self.lock, events = apply(self.lock, Expire(self.lock.conversation_id, number), self.now_ms, LIMITS)
        self.witness(events)
        self.compare_lines()
        assert turn.head == (self.lock.tickets[0].number if self.lock.tickets else None)
        assert turn.in_line == any(ticket.number == number for ticket in self.lock.tickets)

    @rule(when=moments)
    def sweep(self, when: Moment) -> None:
        """What a daemon does about deadlines: afterwards nothing in the line is overdue."""
        self.pass_to(when)
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
        over = [ended.request_id for ended in self.lock.ended if ended.number is not None]
        assert len(live + over) == len(set(live + over))


EVERYTHING = frozenset(
    {"Queued", "Granted", "Renewed", "Released", "Expired", "Cancelled"}
    | {"busy", "line_full", "finished", "unknown_ticket", "forbidden", "invalid"}
)
