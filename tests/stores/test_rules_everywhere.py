"""The rules, as every store must keep them. `tests/unit/core` has the same promises one by one, without a store."""

import pytest

from lockstore.core.commands import Command, Release, Request
from lockstore.core.events import Granted, Queued, Rejected, Released
from lockstore.core.line import SETTLE_MAX, Limits
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore
from lockstore.stores.results import Notice, Outcome
from tests.rules.transcript import play, transcripts
from tests.stores.table import StoreTable

WRITTEN = transcripts()


@pytest.mark.parametrize("name", WRITTEN)
async def test_every_store_says_what_the_transcript_says(name: str, table: StoreTable) -> None:
    assert await play(WRITTEN[name], table) == WRITTEN[name]


async def test_tickets_are_granted_in_the_order_of_their_requests(table: StoreTable) -> None:
    names = "defabc"
    await table.say(*(f"request {name} wait=60000" for name in names))
    granted = [name for name in names for told in await table.say(f"release {name}") if told.startswith("granted")]
    assert granted == list(names[:-1])
    assert await table.say("line") == ["(empty)"]


async def test_a_request_id_has_one_ticket_and_one_answer(table: StoreTable) -> None:
    table.limit(Limits(max_waiting=2))
    first = await table.say("request a", "request b", "request c", "request d wait=0")
    again = await table.say("request a", "request b", "request c", "request d wait=0")
    assert [told.replace(" (again)", "").replace("behind 1", "behind 0") for told in again] == first
    assert first[2:] == ["rejected - c: line_full", "rejected - d: line_full"]
    await table.say("release a", "release b")
    assert await table.say("request c", "request d") == first[2:]


async def test_busy_is_said_twice(table: StoreTable) -> None:
    assert (await table.say("request a", "request b wait=0"))[1:] == ["rejected - b: busy"]
    await table.say("release a")
    assert await table.say("request b wait=0") == ["rejected - b: busy"]


async def test_the_wait_ends_at_its_deadline_and_not_before(table: StoreTable) -> None:
    await table.say("request a lifetime=9000", "request b wait=500", "request c wait=9000")
    assert await table.say("after 499", "expire #1", "after 1", "expire #1") == ["expired #1 b: waiting"]
    assert await table.say("line") == ["#0 a holds until 9000 | #2 c waits until 9000"]


async def test_the_lease_starts_at_the_grant(table: StoreTable) -> None:
    await table.say("request a", "request b lifetime=500 wait=9000", "after 900")
    assert (await table.say("release a"))[1] == "granted #1 b: until 1400, waited 900, behind 0"
    assert await table.say("after 499", "expire #1", "settle", "after 1", "settle") == ["expired #1 b: held"]


async def test_a_renewed_lease_does_not_end_at_its_old_deadline(table: StoreTable) -> None:
    await table.say("request a", "after 900", "renew a lifetime=200")
    assert await table.say("after 199", "expire #0", "settle") == []
    assert await table.say("after 1", "expire #0") == ["expired #0 a: held"]


async def test_a_release_touches_its_own_ticket_only(table: StoreTable) -> None:
    await table.say("request a user=alice", "request b wait=9000", "request c wait=9000")
    assert await table.say("release #0 b", "release #1 a", "release a user=bob", "release #7", "renew #7") == [
        "rejected #0 b: invalid",
        "rejected #1 a: invalid",
        "rejected #0 a: forbidden",
        "rejected #7 -: unknown_ticket",
        "rejected #7 -: unknown_ticket",
    ]
    await table.say("release a user=alice")
    assert await table.say("release #0", "release a", "release #0 b") == [
        "rejected #0 a: finished (released)",
        "rejected #0 a: finished (released)",
        "rejected #0 b: invalid",
    ]
    assert await table.say("line") == ["#1 b holds until 1000 | #2 c waits until 9000"]


async def test_an_early_release_cancels_the_request_of_its_own_user(table: StoreTable) -> None:
    assert await table.say("release a", "request a", "release b user=mallory", "request b user=bob") == [
        "rejected - a: unknown_ticket",
        "cancelled #0 a: requester",
        "rejected - b: unknown_ticket",
        "granted #1 b: until 1000, waited 0, behind 0",
    ]
    assert (await table.say("release c user=carol", "request c user=carol"))[1:] == ["cancelled #2 c: requester"]


async def test_a_withdrawal_is_of_one_ticket_and_one_queue(table: StoreTable) -> None:
    await table.say("request a reply_to=qa", "request b reply_to=qb", "request b reply_to=qc")
    assert await table.say("withdraw #1 qb", "withdraw #0 qb") == []
    assert await table.say("withdraw #0 qa") == [
        "cancelled #0 a: unreachable -> qa",
        "granted #1 b: until 1000, waited 0, behind 0 -> qc",
    ]


async def test_the_past_is_forgotten_after_the_window(table: StoreTable) -> None:
    table.limit(Limits(dedup_window_ms=500))
    await table.say("request a", "release a", "release early", "request x", "request busy wait=0", "release x")
    assert await table.say("after 499", "request a", "request busy", "release #0") == [
        "rejected #0 a: finished (released)",
        "rejected - busy: busy",
        "rejected #0 a: finished (released)",
    ]
    assert await table.say("after 1", "release #0", "request early", "release early", "request a") == [
        "rejected #0 -: finished",
        "granted #2 early: until 1500, waited 0, behind 0",
        "released #2 early: holder, held 0",
        "granted #3 a: until 1500, waited 0, behind 0",
    ]


async def test_a_second_early_release_does_not_prolong_the_first(table: StoreTable) -> None:
    table.limit(Limits(dedup_window_ms=500))
    await table.say("release a", "after 400", "release a", "after 100")
    assert await table.say("request a") == ["granted #0 a: until 1500, waited 0, behind 0"]


async def test_a_cancellation_outlives_the_early_release_that_caused_it(table: StoreTable) -> None:
    table.limit(Limits(dedup_window_ms=500))
    await table.say("release a", "after 400", "request a", "after 100", "settle")
    assert await table.say("request a") == ["rejected #0 a: finished (cancelled)"]


async def test_a_request_id_that_comes_again_is_not_taken_for_its_past(table: StoreTable) -> None:
    table.limit(Limits(dedup_window_ms=500))
    many = [f"r{place}" for place in range(40)]  # more than one command's share of forgetting
    await table.say(*(text for name in many for text in (f"request {name}", f"release {name}")), "after 500")
    assert await table.say("request r39", "release r39", "release #39", "release #40") == [
        "granted #40 r39: until 1500, waited 0, behind 0",
        "released #40 r39: holder, held 0",
        "rejected #39 -: finished",
        "rejected #40 r39: finished (released)",
    ]


async def test_very_many_dead_waiters_are_ended_a_bounded_number_at_a_time(table: StoreTable) -> None:
    waiters = [f"request w{place} wait=10" for place in range(SETTLE_MAX + 5)]
    await table.say("request a", *waiters, "request z wait=9000", "after 20")
    assert len(await table.say("release a")) == 1 + SETTLE_MAX
    assert len(await table.say("settle")) == 5 + 1
    assert await table.say("line") == [f"#{SETTLE_MAX + 6} z holds until 1020"]


async def test_direct_tickets_are_silent(table: StoreTable) -> None:
    assert await table.say("issue lifetime=300", "issue lifetime=500", "finish #0", "after 500", "settle") == []
    assert await table.say("line") == ["(empty)"]


@pytest.mark.parametrize("number", [10**13, 10**14, 2**53 - 1])
async def test_a_number_far_from_any_issued_is_named_exactly(number: int, table: StoreTable) -> None:
    (outcome,) = await table.store.apply([Release("c", number)])
    assert [notice.event.number for notice in _served(outcome)] == [number]


async def test_texts_come_back_as_they_were_sent(table: StoreTable) -> None:
    odd = 'a"b\\c/d\u2028é😀 {}[]|=\x7f'
    (granted,) = await table.apply(Request("c", odd, 1000, 1000, holder=odd))
    assert isinstance(granted, Granted)
    assert (granted.request_id, granted.holder) == (odd, odd)
    (released,) = await table.apply(Release("c", request_id=odd))
    assert isinstance(released, Released)
    (rejected,) = await table.apply(Release("c", granted.number))
    assert isinstance(rejected, Rejected)
    assert (rejected.request_id, rejected.ended) == (odd, "released")


class TestABatch:
    async def test_has_an_outcome_for_each_command_in_its_order(self, store: LockStore) -> None:
        ids = [f"conversation-{place}" for place in range(20)]
        commands: list[Command] = [Request(name, "a", 1000, 1000) for name in ids]
        commands += [Request(name, "b", 1000, 1000) for name in ids]
        commands += [Release(name, request_id="a") for name in ids]
        outcomes = await store.apply(commands)
        told = [[type(notice.event) for notice in _served(outcome)] for outcome in outcomes]
        assert told == [[Granted]] * 20 + [[Queued]] * 20 + [[Released, Granted]] * 20
        assert [_served(outcome)[0].event.conversation_id for outcome in outcomes] == ids * 3

    async def test_may_be_empty(self, store: LockStore) -> None:
        assert await store.apply([]) == []

    async def test_applied_again_gives_no_second_ticket(self, store: LockStore) -> None:
        commands = [Request("c", name, 1000, 1000) for name in "abc"]
        numbers = [[notice.event.number for notice in _served(outcome)] for outcome in await store.apply(commands)]
        again = [[notice.event.number for notice in _served(outcome)] for outcome in await store.apply(commands)]
        assert again == numbers


def _served(outcome: Outcome) -> tuple[Notice, ...]:
    assert not isinstance(outcome, ConversationError)
    return outcome
