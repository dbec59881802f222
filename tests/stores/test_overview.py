"""What operators ask of a store: all lines at a glance, one line with its past, and taking a lease away."""

import time
from typing import Any

import pytest

from lockstore.core.commands import ForceRelease, Release, Request
from lockstore.core.events import Cancelled, Event, Granted, Queued, Released
from lockstore.core.line import Limits
from lockstore.core.statistics import DEEPEST, Backlog, LineStatistics, LineSummary
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.rasa import schedule as agenda
from tests.stores.clock import Clock
from tests.stores.conftest import OpenStore
from tests.stores.kinds import CUSTOM_KINDS, lasting_kinds, only_concurrent, only_redis, whole_kinds
from tests.stores.table import StoreTable, first_number
from tests.stores.test_outbox import entries, patrol, told
from tests.support.rasa import rasas_value

ODD_IDS = ["*", "a{b}c", "}", "{", ":", "a:b", "two words", "😀", "x" * 200, "[ab]?", "\\*", "%", "lock:y", "a.b|c"]


async def stand(store: LockStore, *lines: tuple[str, int]) -> None:
    """Have so many stand in each of these conversations."""
    for conversation_id, tickets in lines:
        commands = [Request(conversation_id, f"r{place}", 60_000, 60_000) for place in range(tickets)]
        await store.confirm(entries(await told(store, *commands)))


def lengths(survey: LineStatistics) -> list[tuple[str, int]]:
    return [(line.conversation_id, line.tickets) for line in survey.longest]


class TestASurvey:
    async def test_counts_lines_and_tickets(self, clock: Clock, store: LockStore) -> None:
        await stand(store, ("a", 1), ("b", 3), ("c", 2), ("gone", 1))
        await store.apply([Release("gone", request_id="r0")])
        survey = await store.statistics(10)
        assert (survey.lines, survey.tickets, survey.waiting) == (3, 6, 3)
        assert survey.at_ms == clock.now_ms

    async def test_has_the_longest_first_then_by_conversation_in_pages(self, store: LockStore) -> None:
        await stand(store, ("b", 2), ("a", 1), ("c", 4), ("Z", 1), ("é", 2), ("😀", 1))
        inorder = [("c", 4), ("b", 2), ("é", 2), ("Z", 1), ("a", 1), ("😀", 1)]
        assert lengths(await store.statistics(10)) == inorder
        pages = [lengths(await store.statistics(2, start)) for start in (0, 2, 4, 6)]
        assert pages == [inorder[:2], inorder[2:4], inorder[4:], []]
        assert lengths(await store.statistics(0)) == []
        assert lengths(await store.statistics(1, DEEPEST)) == []

    async def test_tells_of_each_line_who_holds_it_and_since_when_the_next_one_waits(self, table: StoreTable) -> None:
        first, start = table.words.first, table.clock.start_ms
        await table.say("request a lifetime=5000 holder=bot-1", "after 100", "request b wait=9000", "after 50")
        await table.say("request c wait=9000", "after 50")
        (line,) = (await table.store.statistics(1)).longest
        assert line == LineSummary("c", 3, line.head, start + 100)
        assert line.head is not None
        assert line.head.claim is not None
        assert (line.head.number, line.head.claim.holder, line.head.expires_ms) == (first, "bot-1", start + 5000)
        await table.say("release a")
        (line,) = (await table.store.statistics(1)).longest
        assert (line.tickets, line.waiting_since_ms) == (2, start + 150)
        await table.say("release b")
        (line,) = (await table.store.statistics(1)).longest
        assert (line.tickets, line.waiting_since_ms) == (1, None)

    async def test_tells_how_long_the_one_has_waited_that_waits_longest(self, clock: Clock, store: LockStore) -> None:
        await stand(store, ("alone", 1))
        none = await store.statistics(1)
        assert (none.oldest_wait_ms, none.oldest_wait_in) == (None, None)
        await stand(store, ("short", 2))
        clock.advance(700)
        await stand(store, ("long", 5))
        clock.advance(70)
        survey = await store.statistics(0)
        assert (survey.oldest_wait_ms, survey.oldest_wait_in) == (770, "short")
        await store.apply([Release("short", request_id="r1")])
        survey = await store.statistics(0)
        assert (survey.oldest_wait_ms, survey.oldest_wait_in) == (70, "long")

    async def test_does_not_take_the_wait_of_one_who_holds_by_now_for_a_wait(
        self, clock: Clock, store: LockStore
    ) -> None:
        await told(store, Request("c", "a", 60_000, 0), Request("c", "b", 60_000, 60_000))
        clock.advance(500)
        await told(store, Request("c", "c", 60_000, 60_000))
        clock.advance(100)
        assert (await store.statistics(0)).oldest_wait_ms == 600
        await told(store, Release("c", request_id="a"))
        assert (await store.statistics(0)).oldest_wait_ms == 100
        await told(store, Release("c", request_id="c"))
        assert (await store.statistics(0)).oldest_wait_ms is None

    async def test_of_an_empty_store_is_all_zero(self, clock: Clock, store: LockStore) -> None:
        survey = await store.statistics(10)
        assert survey == LineStatistics(clock.now_ms, 0, 0, 0, None, (), survey.complete)

    async def test_has_direct_tickets_too(self, store: LockStore) -> None:
        await store.issue_ticket("c", 60)
        await stand(store, ("c", 1))
        survey = await store.statistics(1)
        assert (survey.lines, survey.tickets, survey.waiting, survey.longest[0].tickets) == (1, 2, 1, 2)
        assert survey.longest[0].head is not None
        assert survey.longest[0].head.claim is None

    async def test_says_whether_it_looked_at_all_lines(self, store: LockStore, kind: str) -> None:
        await stand(store, ("a", 1))
        assert (await store.statistics(1)).complete == (kind not in CUSTOM_KINDS)

    @whole_kinds
    async def test_says_so_too_where_it_stopped_at_its_limit(
        self, store: LockStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await stand(store, *((f"c{place}", 2) for place in range(5)))
        monkeypatch.setattr(store, "looks_most", 3)
        survey = await store.statistics(10)
        assert (survey.lines, survey.tickets, len(survey.longest), survey.complete) == (3, 6, 3, False)


class TestFinding:
    async def test_goes_by_a_part_of_the_id_and_never_by_a_pattern(self, store: LockStore) -> None:
        await stand(store, *((name, 1) for name in ODD_IDS), ("plain", 1))
        for name in ODD_IDS:
            assert name in await store.find(name, 100), name
        assert await store.find("*", 100) == ["*", "\\*"]
        assert await store.find("?", 100) == ["[ab]?"]
        assert await store.find("%", 100) == ["%"]
        assert await store.find("lai", 100) == ["plain"]
        assert await store.find(".", 100) == ["a.b|c"]
        assert await store.find("nobody", 100) == []
        assert await store.find("", 100) == sorted([*ODD_IDS, "plain"])
        assert lengths(await store.statistics(100)) == [(name, 1) for name in sorted([*ODD_IDS, "plain"])]

    async def test_gives_the_one_of_just_this_name_first_and_so_many(self, store: LockStore) -> None:
        await stand(store, *((name, 1) for name in ("1", "21", "12", "011", "3")))
        assert await store.find("1", 10) == ["1", "011", "12", "21"]
        assert await store.find("1", 2) == ["1", "011"]
        assert await store.find("1", 0) == []

    async def test_has_only_those_in_which_somebody_stands(self, store: LockStore) -> None:
        await stand(store, ("here", 1), ("there", 1))
        await store.apply([Release("here", request_id="r0")])
        assert await store.find("here", 10) == ["there"]


class TestAView:
    async def test_is_the_line_and_the_stores_clock(self, table: StoreTable) -> None:
        await table.say("request a lifetime=5000", "request b wait=9000", "after 100")
        lock, at_ms = await table.store.view("c")
        assert table.words.line(lock) == "#0 a holds until 5000 | #1 b waits until 9000"
        assert at_ms == table.clock.now_ms

    async def test_is_none_where_nobody_stands(self, table: StoreTable) -> None:
        assert await table.store.view("c") == (None, table.clock.now_ms)
        await table.say("request a", "release a")
        assert await table.store.view("c") == (None, table.clock.now_ms)


class TestHistory:
    async def said(self, table: StoreTable) -> list[str]:
        return [table.words.of(event) for event in await table.store.history("c")]

    async def test_is_what_the_public_was_told_oldest_first(self, table: StoreTable) -> None:
        asked = ["request a reply_to=qa", "request b wait=500", "request b", "request c wait=0", "renew a", "after 500"]
        await table.say(*asked, "expire #1", "release a", "settle")
        assert await self.said(table) == [
            "granted #0 a: until 1000, waited 0, behind 0",
            "queued #1 b: 1 ahead, until 500",
            "expired #1 b: waiting",
            "released #0 a: holder, held 500",
        ]

    async def test_outlives_the_line_and_is_empty_where_nothing_ever_was(self, table: StoreTable) -> None:
        await table.say("request a", "release a")
        assert len(await table.store.history("c")) == 2
        assert await table.store.history("d") == []

    async def test_keeps_so_many_events(self, table: StoreTable) -> None:
        table.limit(Limits(history=3))
        await table.say(*(f"{verb} r{place}" for place in range(4) for verb in ("request", "release")))
        assert [told.split(":")[0] for told in await self.said(table)] == [
            "released #2 r2",
            "granted #3 r3",
            "released #3 r3",
        ]

    async def test_keeps_them_for_so_long(self, table: StoreTable) -> None:
        table.limit(Limits(history_keep_ms=1000))
        await table.say("request a lifetime=9000", "after 400", "release a", "after 600")
        assert await self.said(table) == ["released #0 a: holder, held 400"]
        await table.say("after 400")
        assert await self.said(table) == []

    async def test_is_not_kept_where_it_is_turned_off(self, table: StoreTable) -> None:
        table.limit(Limits(history=0))
        await table.say("request a", "release a")
        assert await self.said(table) == []

    async def test_has_what_direct_callers_caused(self, table: StoreTable) -> None:
        await table.say("issue", "request a wait=9000", "finish #0")
        assert [type(event) for event in await table.store.history("c")] == [Queued, Granted]

    async def test_keeps_texts_as_they_were_sent(self, store: LockStore) -> None:
        odd = 'a"b\\c/d\u2028é😀 {}[]|=\x7f'
        await store.apply([Request(odd, odd, 1000, 1000, holder=odd)])
        (granted,) = await store.history(odd)
        assert (granted.conversation_id, granted.request_id, granted.holder) == (odd, odd, odd)


@lasting_kinds
async def test_history_is_read_by_any_process(open_store: OpenStore) -> None:
    await stand(await open_store(), ("c", 2))
    assert [type(event) for event in await (await open_store()).history("c")] == [Granted, Queued]


class TestSeizing:
    async def test_gives_what_was_taken_and_lets_the_next_one_in(self, table: StoreTable) -> None:
        await table.say("request a", "request b wait=9000", "after 30")
        taken = await table.store.force_release("c", "anna@ops")
        assert taken is not None
        assert table.words.of(taken) == "released #0 a: forced by anna@ops, held 30"
        assert await table.say("line") == ["#1 b holds until 1030"]
        kept = [table.words.of(event) for event in await table.store.history("c")]
        assert kept[-2:] == [table.words.of(taken), "granted #1 b: until 1030, waited 30, behind 0"]

    async def test_by_number_takes_that_ticket_and_no_other(self, table: StoreTable) -> None:
        first = table.words.first
        await table.say("request a", "request b wait=9000")
        assert isinstance(await table.store.force_release("c", "anna", first + 1), Cancelled)
        assert await table.store.force_release("c", "anna", first + 1) is None
        assert await table.store.force_release("c", "anna", first + 5) is None
        assert await table.say("line") == ["#0 a holds until 1000"]

    async def test_finds_nothing_in_an_empty_line(self, store: LockStore) -> None:
        assert await store.force_release("c", "anna") is None

    async def test_ends_a_direct_ticket(self, store: LockStore) -> None:
        number = await store.issue_ticket("c", 60)
        taken = await store.force_release("c", "anna")
        assert isinstance(taken, Cancelled)
        assert (taken.number, taken.request_id, taken.by) == (number, None, "anna")
        assert (await store.view("c"))[0] is None

    async def test_leaves_its_events_to_a_daemon_at_once(self, store: LockStore) -> None:
        await stand(store, ("c", 2))
        taken = await store.force_release("c", "anna")
        left = (await patrol(store, 10**6)).unannounced
        assert [notice.event for notice in left][:1] == [taken]
        assert [type(notice.event) for notice in left] == [Released, Granted]

    async def test_may_be_a_daemons_command_as_any(self, store: LockStore) -> None:
        await stand(store, ("c", 1))
        (taken,) = await told(store, ForceRelease("c", "anna", first_number(store)))
        event: Event = taken.event
        assert isinstance(event, Released)
        assert (event.reason, event.by) == ("forced", "anna")
        assert taken.entry is not None


class TestAnExamination:
    async def test_of_an_idle_store_finds_nothing(self, store: LockStore) -> None:
        assert await store.backlog() == Backlog(0, None, 0, None)
        await stand(store, ("c", 2))
        await patrol(store)  # which lets go of what was announced
        assert await store.backlog() == Backlog(0, None, 0, None)

    async def test_counts_what_is_not_announced(self, clock: Clock, store: LockStore) -> None:
        before_ms = (await store.view("c"))[1]
        await told(store, Request("c", "a", 60_000, 0), Request("d", "a", 60_000, 0))
        clock.advance(300)
        seen = await store.backlog()
        assert (seen.outbox, seen.overdue) == (2, 0)
        assert seen.outbox_oldest_ms is not None
        assert 0 <= seen.outbox_oldest_ms <= clock.now_ms - before_ms

    async def test_counts_what_is_overdue(self, clock: Clock, store: LockStore) -> None:
        await store.confirm(entries(await told(store, Request("c", "a", 500, 0), Request("d", "a", 800, 0))))
        clock.advance(900)
        seen = await store.backlog()
        assert (seen.overdue, seen.overdue_most_ms) == (2, 400)
        await told(store, *(await patrol(store, 10**6, [store.shard_of(name) for name in "cd"])).overdue)
        assert (await store.backlog()).overdue == 0


@only_redis
class TestTheAgenda:
    """By it the `redis` store lists its lines: Rasa's keys say nothing of who stands where, and are never scanned for this."""

    async def test_names_lines_that_other_processes_wrote(self, open_store: OpenStore) -> None:
        await stand(await open_store(), ("a", 2), ("b", 1))
        second = await open_store()
        assert lengths(await second.statistics(10)) == [("a", 2), ("b", 1)]
        assert await second.find("b", 10) == ["b"]

    async def test_names_lines_that_rasa_had_before(self, open_store: OpenStore, client: Any, key_prefix: str) -> None:
        client.set(f"{key_prefix}:lock:rasas", rasas_value("rasas", (4, time.time() + 60), (5, time.time() + 60)))
        survey = await (await open_store()).statistics(10)
        assert lengths(survey) == [("rasas", 2)]
        assert survey.longest[0].head is not None
        assert survey.longest[0].head.number == 4

    async def test_is_read_page_by_page_however_long_it_is(
        self, store: LockStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agenda, "_LINES_MOST", 3)
        monkeypatch.setattr(agenda, "_SLOTS_MOST", 2)
        names = [f"c{place}" for place in range(10)]
        await stand(store, *((name, 1) for name in names))
        assert await store.find("c", 100) == names
        assert (await store.statistics(0)).lines == 10

    async def test_shows_nothing_of_a_line_whose_value_is_damaged(
        self, store: LockStore, client: Any, key_prefix: str
    ) -> None:
        await stand(store, ("bad", 1), ("good", 1))
        client.set(f"{key_prefix}:lock:bad", "no lock")
        assert lengths(await store.statistics(10)) == [("good", 1)]
        assert await store.find("d", 10) == ["good"]
        with pytest.raises(ConversationError):
            await store.view("bad")


@pytest.mark.parametrize("kind", ["concurrent_redis"])
async def test_the_longest_wait_is_found_among_very_many_lines_that_moved(clock: Clock, store: LockStore) -> None:
    """Each of them had somebody waiting before the one in question had, and has somebody else by now."""
    assert isinstance(store, ConcurrentRedisLockStore)
    names = [f"moving {place}" for place in range(800)]
    await told(store, *(Request(name, one, 60_000, 60_000) for name in names for one in "ab"))
    clock.advance(1000)
    await told(store, *(Request("stuck", one, 60_000, 60_000) for one in "ab"))
    clock.advance(1000)
    await told(store, *(Request(name, "c", 60_000, 60_000) for name in names))
    await told(store, *(Release(name, None, "a") for name in names))
    clock.advance(10)
    seen = [(await store.statistics(0)).oldest_wait_ms for _ in range(8)]
    assert seen[-1] == 1010
    assert {*seen} <= {10, 1010}, "what is told is always somebody's wait"
    waiting = store._keys.of_index(store._keys.shard_of(names[0]))[2]
    [bound_ms] = await store._servers.ask_all([("ZSCORE", waiting, names[0])])
    assert bound_ms == clock.now_ms - 10, "the index knows it from then on"


@only_concurrent
async def test_an_index_that_is_another_programs_leaves_the_survey_incomplete(store: LockStore, client: Any) -> None:
    assert isinstance(store, ConcurrentRedisLockStore)
    names = [f"c{place}" for place in range(100)]
    await stand(store, *((name, 1) for name in names))
    shard = store._keys.shard_of("c0")
    lines = store._keys.of_index(shard)[1]
    client.delete(lines)
    client.set(lines, "certainly no sorted set")
    elsewhere = [name for name in names if store._keys.shard_of(name) != shard]
    survey = await store.statistics(1000)
    assert not survey.complete
    assert {line.conversation_id for line in survey.longest} == set(elsewhere)
    assert await store.find("c", 1000) == sorted(elsewhere)
