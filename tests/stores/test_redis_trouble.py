"""Redis goes away, forgets the scripts, refuses work, or holds what is not ours: what a Redis store says then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
import redis
from redis.exceptions import OutOfMemoryError, ResponseError

from harness import RedisServer
from lockstore.core.commands import Command, Release, Request
from lockstore.core.line import Limits
from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from lockstore.stores.redis.concurrent import store as concurrent
from lockstore.stores.redis.connection.errors import fault_of
from tests.stores.conftest import OpenStore
from tests.stores.deployments import Client, Deployment
from tests.stores.kinds import all_only_concurrent, all_only_redis, all_redis_kinds, one_server_kinds
from tests.stores.table import first_number, line_of


def ask(*names: str) -> list[Command]:
    return [Request(name, "a", 60_000, 0) for name in names]


async def numbers(store: LockStore, *commands: Command) -> list[int | None]:
    given: list[int | None] = []
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)
        given += [notice.event.number for notice in outcome]
    return given


@pytest_asyncio.fixture
async def own_server() -> AsyncIterator[RedisServer]:
    """Start a server that a test may hurt."""
    async with RedisServer(persistence="always") as server:
        yield server


@asynccontextmanager
async def opened(kind: str, server: RedisServer, **options: Any) -> AsyncIterator[LockStore]:
    store = create_store({"type": kind, "host": server.host, "port": server.port, **options}, Limits())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


CALLS: dict[str, Callable[[LockStore], Awaitable[object]]] = {
    "one": lambda store: store.apply(ask("c")),
    "many": lambda store: store.apply(ask("c", "d", "e", "c")),
    "patrol": lambda store: store.patrol([store.shard_of("c")], 0),
    "issue": lambda store: store.issue_ticket("c"),
    "get_lock": lambda store: line_of(store, "c"),
    "is_someone_waiting": lambda store: store.is_someone_waiting("c"),
    "open": lambda store: store.open(),
}


@one_server_kinds
class TestAServerThatIsAway:
    async def test_is_told_as_that_by_every_call_and_missed_no_longer_when_it_is_back(
        self, kind: str, own_server: RedisServer
    ) -> None:
        async with opened(kind, own_server) as store:
            before = await numbers(store, *ask("c", "d"))
            await own_server.kill()
            for call in CALLS.values():
                with pytest.raises(StoreUnavailableError):
                    await call(store)
            await own_server.start()
            assert await numbers(store, *ask("c", "d")) == before
            for call in CALLS.values():
                await call(store)

    async def test_does_not_make_what_was_announced_come_up_again(self, kind: str, own_server: RedisServer) -> None:
        async with opened(kind, own_server) as store:
            (outcome,) = await store.apply(ask("c"))
            entries = [notice.entry for notice in served(outcome) if notice.entry]
            await own_server.kill()
            with pytest.raises(StoreUnavailableError):
                await store.confirm(entries)
                await store.apply(ask("d"))  # a store may let go together with the next batch
            await own_server.start()
            if kind == "redis":
                await store.confirm(entries)  # it raised the first time, so it is asked again
            assert (await store.patrol([store.shard_of("c")], 0)).unannounced == []

    async def test_does_not_mask_the_exception_of_a_holder(self, kind: str, own_server: RedisServer) -> None:
        async with opened(kind, own_server) as store:
            with pytest.raises(ZeroDivisionError) as caught:
                async with store.lock("c"):
                    await own_server.kill()
                    raise ZeroDivisionError
            assert "could not be returned" in caught.value.__notes__[0]

    async def test_refuses_the_opening(self, kind: str, own_server: RedisServer) -> None:
        await own_server.stop()
        with pytest.raises(StoreUnavailableError):
            async with opened(kind, own_server):
                pytest.fail("opened")

    async def test_may_also_be_one_that_does_not_answer(self, kind: str, own_server: RedisServer) -> None:
        async with opened(kind, own_server, socket_timeout=0.4) as store:
            own_server.pause()
            for call in CALLS.values():
                with pytest.raises(StoreUnavailableError):
                    async with asyncio.timeout(20):
                        await call(store)
        own_server.resume()
        async with opened(kind, own_server) as store:  # with time enough for a connection, on a busy machine too
            assert await numbers(store, *ask("c", "d")) == [first_number(store)] * 2

    @pytest.mark.parametrize(
        ("setting", "hurt", "healed"), [("min-replicas-to-write", "1", "0"), ("maxmemory", "1", "0")]
    )
    async def test_may_also_be_one_that_refuses_to_write(
        self, setting: str, hurt: str, healed: str, kind: str, own_server: RedisServer
    ) -> None:
        async with opened(kind, own_server) as store:
            with redis.Redis(port=own_server.port) as client:
                client.config_set(setting, hurt)
                with pytest.raises(StoreUnavailableError):
                    await store.apply(ask("c", "d"))
                client.config_set(setting, healed)
            assert await numbers(store, *ask("c", "d")) == [first_number(store)] * 2

    async def test_may_also_be_one_that_has_become_a_replica(self, kind: str, own_server: RedisServer) -> None:
        async with opened(kind, own_server) as store:
            with redis.Redis(port=own_server.port) as client:
                client.replicaof("127.0.0.1", own_server.port)
                with pytest.raises(StoreUnavailableError):
                    await store.apply(ask("c"))
                client.replicaof("NO", "ONE")
            [number] = await numbers(store, *ask("c"))
            assert number is not None
            assert number > first_number(store), "what is promoted may lack writes"


@one_server_kinds
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the server requires a password, and none is configured; check username and password"),
        ({"password": "wrong-one"}, "invalid username-password pair"),
        ({"username": "nobody", "password": "wrong-one"}, "check username and password"),
    ],
)
async def test_a_login_that_is_refused_names_the_options(given: dict[str, str], said: str, kind: str) -> None:
    async with RedisServer({"requirepass": "a-password"}) as server:
        store = create_store({"type": kind, "host": server.host, "port": server.port, **given}, Limits())
        with pytest.raises(StoreUnavailableError, match=said) as caught:
            await store.open()
        await store.close()
    assert "wrong-one" not in str(caught.value)


@all_redis_kinds
class TestForgottenScripts:
    async def test_are_loaded_again(self, store: LockStore, client: Client) -> None:
        for place, call in enumerate(CALLS.values()):
            client.script_flush()
            await call(store)
            await numbers(store, *ask(f"conversation {place}"))

    async def test_do_not_change_the_order_of_a_batch(self, store: LockStore, client: Client) -> None:
        client.script_flush()
        commands: list[Command] = [Request("c", name, 60_000, 60_000) for name in "abc"]
        given = await numbers(store, *commands, Release("d", 5), *ask("e"))
        first = first_number(store)
        assert given == [first, first + 1, first + 2, 5, first]

    async def test_are_no_matter_to_a_waiting_bot(self, store: LockStore, client: Client) -> None:
        async with store.lock("c"):
            waiter = asyncio.create_task(visit(store))
            while len((await store.get_or_create_lock("c")).tickets) < 2:
                await asyncio.sleep(0.01)
            client.script_flush()
        await waiter


async def visit(store: LockStore) -> None:
    async with store.lock("c", 60, 0.05):
        pass


@all_redis_kinds
async def test_a_lost_hint_costs_no_more_than_a_poll(open_store: OpenStore, deployment: Deployment) -> None:
    holder, waiting = await open_store(), await open_store()
    async with holder.lock("c"):
        waiter = asyncio.create_task(visit(waiting))
        while len((await holder.get_or_create_lock("c")).tickets) < 2:
            await asyncio.sleep(0.01)
        while not cut_off_listeners(deployment):  # its ticket comes first, and then it listens
            await asyncio.sleep(0.01)
    await waiter


def cut_off_listeners(deployment: Deployment) -> int:
    """Close the connections that hints come on, and say how many there were; sentinels go on listening."""
    closed = 0
    for primary in deployment.primaries:
        listeners: Any = primary.client_list(_type="pubsub")
        for listener in listeners:
            if not listener["name"].startswith("sentinel-"):
                closed += primary.client_kill_filter(_id=listener["id"])
    return closed


def line_keys(store: Any, conversation_id: str) -> tuple[str, ...]:
    if hasattr(store._keys, "of_line"):
        keys: tuple[str, ...] = store._keys.of_line(conversation_id, store._keys.shard_of(conversation_id))
        return keys
    return tuple(store._keys.of(conversation_id))


def in_another_shard(store: LockStore, name: str) -> str:
    if len(store.shards()) == 1:
        return "other"
    return next(text for place in range(1000) if store.shard_of(text := f"other {place}") != store.shard_of(name))


class TestForeignData:
    @all_redis_kinds
    @pytest.mark.parametrize("place", range(3))
    async def test_of_a_wrong_type_harm_their_own_conversation_alone(
        self, place: int, store: LockStore, client: Client
    ) -> None:
        key = line_keys(store, "c")[place]
        if client.type(key) == b"none":
            client.xadd(key, {"a": "stream"})  # no verb expects one here
        other = in_another_shard(store, "c")
        before, spoilt, after = await store.apply([*ask(other), *ask("c"), Request(other, "b", 1000, 0)])
        assert isinstance(spoilt, ConversationError)
        assert not isinstance(before, ConversationError)
        assert not isinstance(after, ConversationError)
        with pytest.raises(ConversationError):
            await store.issue_ticket("c")

    @all_only_concurrent
    @pytest.mark.parametrize("place", range(3, 11))
    async def test_beside_the_line_are_told_too(self, place: int, store: LockStore, client: Client) -> None:
        client.set(line_keys(store, "c")[place], "text")
        other = in_another_shard(store, "c")
        commands = [*ask(other), *ask("c"), Request("c", "w", 60_000, 60_000), Release("c", request_id="b")]
        served, *spoilt = await store.apply(commands)
        assert not isinstance(served, ConversationError)
        assert any(isinstance(outcome, ConversationError) for outcome in spoilt)

    @all_redis_kinds
    async def test_in_the_place_of_the_last_number_are_told_too(self, store: LockStore, client: Client) -> None:
        key = line_keys(store, "c")[1 if hasattr(store._keys, "of") else 0]  # type: ignore[attr-defined]
        client.set(key, "seven")
        other = in_another_shard(store, "c")
        spoilt, served = await store.apply([*ask("c"), *ask(other)])
        assert isinstance(spoilt, ConversationError)
        assert not isinstance(served, ConversationError)

    @all_redis_kinds
    async def test_do_not_end_the_patrol_of_others(self, store: LockStore, client: Client) -> None:
        other = in_another_shard(store, "c")
        await store.apply([*ask(other), *ask("c")])
        if hasattr(store._keys, "of"):  # type: ignore[attr-defined]
            client.set(line_keys(store, "c")[0], "certainly no JSON")
        else:
            client.delete(line_keys(store, "c")[6])
            client.set(line_keys(store, "c")[6], "certainly no sorted set")
        found = await store.patrol([store.shard_of("c"), store.shard_of(other)], 0)
        assert [notice.event.conversation_id for notice in found.unannounced] == [other]

    @pytest.mark.parametrize("kind", ["redis-cluster"])
    async def test_in_the_place_of_the_slots_in_use_are_passed_over(self, store: LockStore, client: Client) -> None:
        client.xadd(store._keys.slots, {"a": "stream"})  # type: ignore[attr-defined]
        assert await numbers(store, *ask("c", "d")) == [0, 0]
        found = await store.patrol(store.shards(), 0)
        assert sorted(notice.event.conversation_id for notice in found.unannounced) == ["c", "d"]

    @all_only_redis
    async def test_written_by_a_faster_writer_are_not_overwritten(
        self, store: LockStore, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server: Any = store._servers  # type: ignore[attr-defined]
        run_all = server.run_all
        interfered: list[Any] = []

        async def late_run_all(calls: Any, *others: Any) -> Any:
            if any(script.name == "compare_and_set" for script, *_ in calls) and not interfered:
                interfered.append(client.set(line_keys(store, "c")[1], 41))
            return await run_all(calls, *others)

        monkeypatch.setattr(server, "run_all", late_run_all)
        assert await store.issue_ticket("c") == 42


@all_redis_kinds
async def test_an_idle_conversation_leaves_one_small_counter(
    open_store: OpenStore, client: Client, key_prefix: str
) -> None:
    window_ms = 30
    store = await open_store(Limits(dedup_window_ms=window_ms, history_keep_ms=window_ms))
    commands: list[Command] = [Request("c", name, 100, 100) for name in "abc"]
    commands += [Release("c", request_id=name) for name in "bacd"]
    notices = [notice for outcome in await store.apply(commands) for notice in served(outcome)]
    await store.confirm([notice.entry for notice in notices if notice.entry])
    async with store.lock("c", 0.1):
        pass
    async with asyncio.timeout(20):
        while left := [key for key in client.scan_iter(f"{key_prefix}:*") if not stays(client, key)]:
            await store.patrol([store.shard_of("c")], 0)
            await asyncio.sleep(0.01)
    assert left == []
    (counter,) = [key for key in client.scan_iter(f"{key_prefix}:*") if b"last:" in key]
    assert (client.memory_usage(counter) or 0) < 200


@all_only_concurrent
async def test_a_list_of_events_is_bounded_and_goes_by_itself(
    open_store: OpenStore, client: Client, key_prefix: str
) -> None:
    store = await open_store(Limits(history=10, history_keep_ms=60_000))
    (events,) = [key for key in line_keys(store, "c") if ":events:" in key]
    longest = 0
    for turn in range(20):
        await store.apply([Request("c", f"r{turn}", 60_000, 0), Release("c", request_id=f"r{turn}")])
        longest = max(longest, client.llen(events))
        assert 55_000 < client.pttl(events) <= 60_000
    assert 10 <= client.llen(events) <= longest <= 15
    assert [event.number for event in await store.history("c")] == [n for n in range(16, 21) for _ in range(2)]
    unkept = await open_store(Limits(history=0))
    await unkept.apply([Request("none", "a", 60_000, 0)])
    assert not client.exists(events.removesuffix("c") + "none")


@all_redis_kinds
async def test_a_live_line_outlives_the_window_of_its_past(
    open_store: OpenStore, client: Client, key_prefix: str
) -> None:
    store = await open_store(Limits(dedup_window_ms=30, history_keep_ms=30))
    past: list[Command] = [Request("c", "past", 60_000, 0), Release("c", request_id="past")]
    await store.apply([*past, *ask("c")])
    await store.apply([Request("idle", "a", 60_000, 0), Release("idle", request_id="a")])
    unannounced = (await store.patrol(store.shards(), 0)).unannounced
    marker = await confirmed_and_idle(store, client, key_prefix)
    async with asyncio.timeout(20):
        while any(client.exists(key) for key in marker):
            await asyncio.sleep(0.01)
    # b asks behind the one that holds since before the window's end; nothing of that line went with the window.
    (queued,) = await store.apply([Request("c", "b", 60_000, 60_000)])
    assert [type(notice.event).__name__ for notice in served(queued)] == ["Queued"]
    assert await numbers(store, *ask("c")) == [first_number(store) + 1]  # the same request, the same ticket
    found = {notice.entry for notice in (await store.patrol(store.shards(), 0)).unannounced}
    assert {notice.entry for notice in unannounced} <= found


async def confirmed_and_idle(store: LockStore, client: Client, key_prefix: str) -> set[bytes]:
    """Bring a conversation to its end after all others, and give its keys that will go."""
    notices = [
        notice
        for outcome in await store.apply([Request("marker", "a", 60_000, 0), Release("marker", request_id="a")])
        for notice in served(outcome)
    ]
    await store.confirm([notice.entry for notice in notices if notice.entry])
    await store.patrol([store.shard_of("marker")], 0)
    return {key for key in client.scan_iter(f"{key_prefix}:*") if key.endswith(b":marker") and b"last:" not in key}


def served(outcome: Any) -> Any:
    assert not isinstance(outcome, ConversationError)
    return outcome


def stays(client: Any, key: bytes) -> bool:
    """The last number, and what a shard has: its history, and its outbox, empty; in a cluster which slots are in use.

    A stream must live on, so that no entry id is given twice.
    """
    if b"last:" in key or b":history" in key or key.endswith(b":slots"):
        return True
    return key.endswith(b"}:outbox") and client.xlen(key) == 0


@all_only_concurrent
async def test_a_server_that_is_too_old_is_refused(section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent, "_REDIS_MIN", (99, 0))
    store = create_store(section, Limits())
    with pytest.raises(ConfigError, match=r"needs Redis 7\.0 or newer, this server is \d+\.\d+"):
        await store.open()
    await store.close()


SCRIPT = "script: 00ff, on @user_script:9."


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            ResponseError(f"WRONGTYPE Operation against a key holding the wrong kind of value {SCRIPT}"),
            ConversationError,
        ),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), ConversationError),
        (ResponseError(f"value is not an integer or out of range {SCRIPT}"), ConversationError),
        (ResponseError(f"user_script:9: attempt to index a nil value {SCRIPT}"), ConversationError),
        (ResponseError(f"MISCONF Redis is configured to save RDB snapshots {SCRIPT}"), StoreUnavailableError),
        (ResponseError(f"NOREPLICAS Not enough good replicas to write. {SCRIPT}"), StoreUnavailableError),
        (OutOfMemoryError(f"command not allowed when used memory > 'maxmemory'. {SCRIPT}"), StoreUnavailableError),
        (
            ResponseError(f"Script attempted to access a non local key in a cluster node {SCRIPT}"),
            StoreUnavailableError,
        ),
        (ResponseError("max number of clients reached"), StoreUnavailableError),
        (ResponseError("unknown command 'EVALSHA'"), StoreUnavailableError),
    ],
)
def test_a_refusal_is_laid_to_the_data_or_to_the_server(error: ResponseError, expected: type[Exception]) -> None:
    assert type(fault_of(error)) is expected
