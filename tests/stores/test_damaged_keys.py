"""Keys that are of the wrong type, or hold what is not ours: the conversation is refused whole, and nothing is written."""

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import pytest

from lockstore.core.commands import Command, Expire, Finish, Release, Renew, Request, Settle, Withdraw
from lockstore.core.rules import Limits
from lockstore.core.ticket import Sender
from lockstore.errors import ConversationError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from tests.stores.deployments import Client
from tests.stores.kinds import one_server_kinds

MINUTE_MS = 60_000

WRONG: dict[str, Callable[[Any, str], object]] = {
    "string": lambda client, key: client.set(key, "certainly nothing of ours"),
    "list": lambda client, key: client.rpush(key, "x"),
    "set": lambda client, key: client.sadd(key, "x"),
    "hash": lambda client, key: client.hset(key, "x", "y"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "stream": lambda client, key: client.xadd(key, {"x": "y"}),
}

GARBAGE = ["", "x", "[", "[]", "{}", "-1", "[null,null,null]", "99999999999999999999"]


def request(name: str) -> Request:
    return Request("c", name, MINUTE_MS, MINUTE_MS, sender=Sender(reply_to="q"))


def of_daemon(command: Command) -> Callable[[LockStore], Awaitable[object]]:
    async def apply(store: LockStore) -> object:
        [outcome] = await store.apply([command])
        if isinstance(outcome, ConversationError):
            raise outcome
        return outcome

    return apply


VERBS: dict[str, Callable[[LockStore], Awaitable[object]]] = {
    "request": of_daemon(request("new")),
    "request again": of_daemon(request("waiter")),
    "request that is over": of_daemon(request("over")),
    "release": of_daemon(Release("c", request_id="holder")),
    "release by number": of_daemon(Release("c", 2)),
    "release of one that is over": of_daemon(Release("c", 1)),
    "release before the request": of_daemon(Release("c", request_id="early")),
    "release of a waiter": of_daemon(Release("c", request_id="waiter")),
    "renew": of_daemon(Renew("c", request_id="holder")),
    "expire": of_daemon(Expire("c", 2)),
    "expire what is gone": of_daemon(Expire("c", 99)),
    "settle": of_daemon(Settle("c")),
    "withdraw": of_daemon(Withdraw("c", 2, "q")),
    "seize": lambda store: store.force_release("c", "an operator"),
    "seize by number": lambda store: store.force_release("c", "an operator", 3),
    "issue": lambda store: store.issue_ticket("c"),
    "turn": lambda store: store.turn("c", 4),
    "finish": lambda store: store.act(Finish("c", 4)),
}


async def fill(store: LockStore) -> None:
    """Have one that is over, a holder, a waiter, and a direct ticket in line: numbers 1 to 4, or 0 to 3."""
    for outcome in await store.apply([request("over"), Release("c", request_id="over"), request("holder")]):
        assert not isinstance(outcome, ConversationError)
    await store.apply([request("waiter")])
    await store.issue_ticket("c")


def dump(client: Any, prefix: str) -> dict[bytes, Any]:
    keys = sorted(client.scan_iter(f"{prefix}:*", count=10_000))
    asking = client.pipeline(transaction=False)
    for key in keys:
        asking.dump(key)
    return dict(zip(keys, asking.execute(), strict=True))


def put_back(client: Any, prefix: str, saved: dict[bytes, Any]) -> None:
    writing = client.pipeline(transaction=False)
    for key in client.scan_iter(f"{prefix}:*", count=10_000):
        writing.delete(key)
    for key, value in saved.items():
        writing.restore(key, 0, value)
    writing.execute()


def keys_of(store: Any) -> dict[str, str]:
    keys = store._keys
    if hasattr(keys, "of_line"):
        names = ("last", "line", "tickets", "requests", "ended", "events")
        shard = ("deadlines", "outbox", "history", "lines", "waiting")
        return dict(zip(names + shard, keys.of_line("c", keys.shard_of("c")), strict=True))
    slot = keys.slot_of("c")
    own = dict(zip(("lock", "last", "memo"), keys.of("c"), strict=True))
    return {**own, "agenda": keys.agenda(slot), "history": keys.history(slot)}


async def check(store: LockStore, client: Any, prefix: str, verb: str, saved: dict[bytes, Any]) -> str | None:
    """Run a verb: where it is refused, nothing may have been written. Then put back what stood there before."""
    before = dump(client, prefix)
    fault = None
    try:
        await VERBS[verb](store)
    except ConversationError as error:
        if dump(client, prefix) != before:
            fault = f"{verb}: refused ({error}), and something was written"
    put_back(client, prefix, saved)
    return fault


async def filled(store: LockStore, client: Any, prefix: str) -> dict[bytes, Any]:
    await fill(store)
    return dump(client, prefix)


@one_server_kinds
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_key_of_another_type_is_refused_whole_by_every_verb(
    wrong: str, store: LockStore, client: Client, key_prefix: str
) -> None:
    saved = await filled(store, client, key_prefix)
    faults = []
    for name, key in keys_of(store).items():
        for verb in VERBS:
            if client.type(key) == wrong.encode():
                continue
            client.delete(key)
            WRONG[wrong](client, key)
            fault = await check(store, client, key_prefix, verb, saved)
            faults += [f"{name}: {fault}"] if fault else []
    assert faults == []


FIELDS = {
    "tickets": [["2"], ["3"]],
    "requests": [["holder", "waiter", "over", "new", "early"]],
    "history": [["run"], ["least"]],
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@one_server_kinds
@pytest.mark.parametrize("line", ["empty", "filled"])
async def test_garbage_in_a_key_of_the_right_type_is_refused_whole_or_served(
    line: str, section: dict[str, Any], client: Any, key_prefix: str
) -> None:
    store = create_store(
        section, Limits()
    )  # one that nobody watches: what is told of damaged lines is not what was issued
    await store.open()
    saved = dump(client, key_prefix) if line == "empty" else await filled(store, client, key_prefix)
    faults = []
    for name, key in keys_of(store).items():
        for fields, garbage, verb in product(FIELDS.get(name, [[]]), GARBAGE, VERBS):
            spoil(client, name, key, fields, garbage)
            fault = await check(store, client, key_prefix, verb, saved)
            faults += [f"{name} {fields} {garbage!r}: {fault}"] if fault else []
    await store.close()
    put_back(client, key_prefix, {})
    assert faults == []


def spoil(client: Any, name: str, key: str, fields: list[str], garbage: str) -> None:
    """Put garbage where it belongs."""
    if name in ("last", "lock", "memo"):
        client.set(key, garbage)
    elif name in FIELDS:
        for field in fields:
            client.hset(key, field, garbage)
    elif name in ("line", "deadlines", "lines", "waiting", "agenda"):
        client.zadd(key, {garbage: -5})
    elif name in ("ended", "events"):
        client.lpush(key, garbage)


@one_server_kinds
@pytest.mark.parametrize("name", ["events", "lines", "waiting", "deadlines", "outbox", "requests", "memo", "agenda"])
async def test_one_answer_is_given_and_no_ticket_stays(
    name: str, store: LockStore, client: Any, key_prefix: str
) -> None:
    key = keys_of(store).get(name)
    if key is None:
        pytest.skip("the other store's")
    client.delete(key)
    client.xadd(key, {"x": "y"}) if name != "outbox" else client.set(key, "x")
    outcomes = await store.apply([request("a"), request("b"), Release("c", request_id="a")])
    assert all(isinstance(outcome, ConversationError) for outcome in outcomes), outcomes
    assert "script:" not in str(outcomes[0])
    client.delete(key)
    lock, _ = await store.view("c")
    assert lock is None or not lock.tickets
