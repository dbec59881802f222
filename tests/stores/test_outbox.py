"""What is committed is announced at least once: the outbox keeps it until somebody says that it was."""

from collections.abc import Sequence

import pytest

from lockstore.core.commands import Command, Expire, Issue, Release, Request, Settle
from lockstore.core.events import Event, Rejected
from lockstore.errors import ConversationError
from lockstore.protocol.codec import message_id
from lockstore.stores.base import LockStore
from lockstore.stores.results import Entry, Notice, Patrol, Shard
from tests.stores.clock import Clock
from tests.stores.conftest import OpenStore
from tests.stores.kinds import ALL_KINDS, all_lasting_kinds, all_own_kinds, all_redis_kinds
from tests.stores.table import StoreTable, first_number


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def told(store: LockStore, *commands: Command) -> list[Notice]:
    """Apply commands, and give all that there is to announce."""
    notices: list[Notice] = []
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)
        notices += outcome
    return notices


async def patrol(store: LockStore, age_ms: int = 0, shards: Sequence[Shard] = ()) -> Patrol:
    """Look through all shards, or these."""
    return await store.patrol(shards or store.shards(), age_ms)


def ids(notices: Sequence[Notice]) -> set[str]:
    return {message_id(notice.event) for notice in notices}


def entries(notices: Sequence[Notice]) -> list[Entry]:
    return [notice.entry for notice in notices if notice.entry]


@all_lasting_kinds
class TestWhatIsNotConfirmed:
    async def test_is_found_by_a_patrol_until_it_is_confirmed(self, store: LockStore) -> None:
        notices = await told(store, *(Request("c", name, 1000, 9000) for name in "abc"), Release("c", request_id="a"))
        assert len(notices) == 5
        found = await patrol(store)
        assert [notice.event for notice in found.unannounced] == [notice.event for notice in notices]
        await store.confirm(entries(notices[:2]))
        assert ids((await patrol(store)).unannounced) == ids(notices[2:])
        await store.confirm(entries(found.unannounced))  # known by the patrol's entries as well as by the first ones
        assert (await patrol(store)).unannounced == []

    async def test_may_be_confirmed_twice(self, store: LockStore) -> None:
        notices = await told(store, Request("c", "a", 1000, 1000))
        await store.confirm(entries(notices))
        await store.confirm(entries(notices))
        assert (await patrol(store)).unannounced == []

    async def test_is_found_though_its_daemon_publishes_other_events(self, store: LockStore) -> None:
        notices = await told(store, Request("c", "a", 1000, 9000), Request("c", "b", 1000, 9000))
        store.in_hand = {*entries(notices[:1])}
        found = ids((await patrol(store)).unannounced)
        assert found in (ids(notices), ids(notices[1:]))  # the store may leave it out

    async def test_is_left_to_its_own_daemon_while_it_is_young(self, store: LockStore) -> None:
        notices = await told(store, Request("c", "a", 1000, 1000))
        assert (await patrol(store, 3_600_000)).unannounced == []
        assert ids((await patrol(store, 0)).unannounced) == ids(notices)

    async def test_is_not_an_answer_that_the_message_itself_brings_again(self, store: LockStore) -> None:
        asked = Request("c", "a", 1000, 1000)
        first, *again = await told(store, asked, asked, Request("c", "b", 1000, 0), Release("c", 99))
        assert [notice.entry for notice in again] == [None] * 3
        assert ids((await patrol(store)).unannounced) == ids([first])


@all_lasting_kinds
class TestAnotherDaemon:
    async def test_finds_what_the_first_left_behind(self, open_store: OpenStore) -> None:
        first = await open_store()
        notices = await told(first, Request("c", "a", 60_000, 60_000), Request("d", "a", 60_000, 60_000))
        second = await open_store()
        await touch(second, "c", "d")
        found = (await patrol(second)).unannounced
        assert ids(found) == ids(notices)
        await second.confirm(entries(found))
        assert (await patrol(second)).unannounced == []
        assert (await patrol(first)).unannounced == []


async def touch(store: LockStore, *conversations: str) -> None:
    """Do what makes a custom store see a conversation; the others find it by themselves."""
    await store.apply([Settle(name) for name in conversations])


@all_redis_kinds
async def test_a_new_daemon_finds_it_with_no_touch_at_all(open_store: OpenStore) -> None:
    notices = await told(await open_store(), Request("c", "a", 60_000, 60_000), Request("d*", "a", 60_000, 60_000))
    assert ids((await patrol(await open_store())).unannounced) == ids(notices)


@all_redis_kinds
async def test_a_daemon_that_was_there_before_finds_it_at_its_second_look(open_store: OpenStore) -> None:
    first, second = await open_store(), await open_store()
    notices = await told(first, Request("c", "a", 60_000, 60_000), Request("d*", "a", 60_000, 60_000))
    await patrol(second)  # where there are many shards, a look may have to find first which are in use
    assert ids((await patrol(second)).unannounced) == ids(notices)


class TestWhatDirectCallersCause:
    async def test_is_left_behind_from_the_start(self, store: LockStore) -> None:
        number = await store.issue_ticket("c")
        (queued,) = await told(store, Request("c", "a", 1000, 9000))
        await store.confirm(entries([queued]))
        await store.cleanup("c", number)
        (granted,) = (await patrol(store, 10**6)).unannounced
        assert (type(granted.event).__name__, granted.event.request_id) == ("Granted", "a")
        await store.confirm(entries([granted]))
        assert (await patrol(store)).unannounced == []

    async def test_is_nothing_while_only_direct_tickets_stand(self, store: LockStore) -> None:
        for _ in range(3):
            await store.issue_ticket("c")
        await store.cleanup("c", first_number(store))
        assert (await patrol(store)).unannounced == []


class TestDeadlines:
    async def test_that_came_are_found(self, table: StoreTable) -> None:
        store, first = table.store, table.words.first
        await table.say("request a lifetime=500", "request b wait=300", "request c wait=900")
        shard = [store.shard_of("c")]
        assert (await patrol(store, shards=shard)).next_in_ms == {shard[0]: 300}
        await table.after(300)
        assert (await patrol(store, shards=shard)).overdue == [Expire("c", first + 1)]
        await table.after(200)
        found = await patrol(store, shards=shard)
        assert sorted(command.number for command in found.overdue) == [first, first + 1]
        assert found.next_in_ms == {shard[0]: 400}
        notices = await told(store, *found.overdue)
        assert [table.words.of(notice.event) for notice in notices] == [
            "expired #0 a: held",
            "expired #1 b: waiting",
            "granted #2 c: until 1500, waited 500, behind 0",
        ]
        assert (await patrol(store, shards=shard)).overdue == []

    async def test_of_direct_tickets_are_found_when_others_wait(self, table: StoreTable) -> None:
        await table.say("issue lifetime=500", "request a wait=9000")
        await table.after(500)
        shards = [*table.store.shards()]
        (overdue,) = (await patrol(table.store, shards=shards)).overdue
        assert await table.say(f"expire #{overdue.number - table.words.first}") == [
            "granted #0 a: until 1500, waited 500, behind 0".replace("#0", "#1")
        ]

    @all_own_kinds
    async def test_are_found_by_any_daemon_and_expire_once(self, clock: Clock, open_store: OpenStore) -> None:
        stores = [await open_store()] * 2
        await told(stores[0], Request("c", "a", 500, 0))
        clock.advance(500)
        shard = [stores[0].shard_of("c")]
        commands = [command for store in stores for command in (await patrol(store, shards=shard)).overdue]
        events: list[Event] = [notice.event for notice in await told(stores[0], *commands)]
        assert [type(event).__name__ for event in events] == ["Expired"]


async def test_a_refusal_has_no_place_in_an_outbox(store: LockStore) -> None:
    (notice,) = await told(store, Release("c", 5))
    assert isinstance(notice.event, Rejected)
    assert notice.entry is None
    await store.act(Issue("c", 1000))
