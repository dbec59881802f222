"""Any text is an ordinary conversation id: none is a pattern, a hash tag, a separator or too long."""

from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lockstore.core.commands import Release, Request
from lockstore.core.events import Event
from lockstore.errors import ConversationError
from lockstore.stores.base import LockStore
from lockstore.stores.results import Patrol
from tests.stores.custom_stores import AsyncDictLockStore, DictLockStore
from tests.stores.table import done, first_number, line_of
from tests.stores.witness import Witness

NEIGHBOURS = ("c", "a", "*a", "a*", "lock:c", "{c}", "?")
"""Conversations that a pattern or a clumsy separator would reach too."""


_requests = count()


@st.composite
def conversation_ids(draw: st.DrawFn) -> str:
    """1 to 200 bytes of UTF-8, more often than not with what has a meaning for Redis or Lua."""
    pieces = st.one_of(st.characters(codec="utf-8"), st.sampled_from("*?[]{}:%|.\\\"'/ \n\r\0😀é^-"))
    text = draw(st.text(pieces, min_size=1, max_size=200))
    return text.encode()[:200].decode(errors="ignore") or "*"


async def told(store: LockStore, *commands: Request | Release) -> list[Event]:
    events: list[Event] = []
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)
        events += [notice.event for notice in outcome]
        await store.confirm([notice.entry for notice in outcome if notice.entry])
    return events


@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example("*")
@example("{")
@example("}")
@example("{}")
@example("a}b")
@example("a}b{c")
@example("{a}b")
@example("{}{a}")
@example(":")
@example(" ")
@example("\n")
@example("😀")
@example("😀" * 50)
@example("x" * 200)
@example("1:2:3")
@example("=a")
@given(conversation_ids())
async def test_any_text_names_one_conversation_and_no_other(store: LockStore, witness: Witness, name: str) -> None:
    # A name may come twice, or be that of a neighbour, and a request that is over is remembered.
    request_id = f"r{next(_requests)}"
    others = [other for other in NEIGHBOURS if other != name]
    await told(store, *(Request(other, request_id, 10**6, 0) for other in others))

    async with store.lock(name):
        queued, *rest = await told(store, Request(name, request_id, 60_000, 60_000))
        assert rest == []
        found: Patrol = await store.patrol([store.shard_of(name)], 10**6)
        assert found.overdue == []
        assert await store.is_someone_waiting(name)
    (granted,) = (await store.patrol([store.shard_of(name)], 10**6)).unannounced
    assert (granted.event.conversation_id, granted.event.number) == (name, queued.number)
    assert granted.entry is not None
    await store.confirm([granted.entry])
    lock = await line_of(store, name)
    assert lock is not None
    assert (lock.conversation_id, [ticket.number for ticket in lock.tickets]) == (name, [queued.number])
    (released,) = await told(store, Release(name, request_id=request_id))
    assert type(released).__name__ == "Released"
    await done(store.delete_lock(name))
    if isinstance(store, DictLockStore | AsyncDictLockStore):
        witness.lets_begin_anew(name)

    assert not await store.is_someone_waiting(name)
    for other in others:
        lock = await line_of(store, other)
        assert lock is not None, f"{other!r} lost its line to {name!r}"
        assert [ticket.claim.request_id for ticket in lock.tickets if ticket.claim] == [request_id]
    await told(store, *(Release(other, request_id=request_id) for other in others))


@pytest.mark.parametrize("name", ["*", "{", "}", "{}", "a}b", ":", " ", "😀", "😀" * 50])
async def test_numbers_of_odd_conversations_begin_like_any_others(store: LockStore, name: str) -> None:
    assert await store.issue_ticket(name) == first_number(store)
    assert await store.issue_ticket("other") == first_number(store)
