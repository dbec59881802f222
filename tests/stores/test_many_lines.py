"""A hundred thousand conversations at once: a page of them costs what a page of few costs. Counted in commands, not in time."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
import redis

from harness import RedisServer
from lockstore.core.commands import Expire, Release
from lockstore.core.rules import Limits
from lockstore.errors import ConversationError
from lockstore.factory import create_store
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.keys import SHARDS
from tests.support.crowd import fill

MANY = 100_000
PAGE = 50
LONG = {f"conversation {place}": place for place in range(2, 120)}
"""Conversations in which more than one stand, and how many do."""


@dataclass
class Crowd:
    """A server with very many lines, and a store on it."""

    store: ConcurrentRedisLockStore
    client: redis.Redis

    @contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """Count round trips, and the commands that Redis runs, those inside of scripts too."""
        counts = {"round trips": 0}
        exchange: Any = self.store._servers._batches._round_trip
        commands = exchange.commands

        async def counting(*arguments: Any) -> Any:
            counts["round trips"] += 1
            return await commands(*arguments)

        before = self.calls()
        exchange.commands = counting
        try:
            yield counts
        finally:
            exchange.commands = commands
            counts["commands"] = self.calls() - before

    def calls(self) -> int:
        stats: Any = self.client.info("commandstats")
        return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_info")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[RedisServer]:
    """Start a server of our own, which goes with all that is in it."""
    async with RedisServer(persistence="no") as own:
        with redis.Redis(host=own.host, port=own.port, db=1) as client:
            fill(client, {f"conversation {place}": LONG.get(f"conversation {place}", 1) for place in range(MANY)})
        yield own


@pytest_asyncio.fixture
async def crowd(server: RedisServer) -> AsyncIterator[Crowd]:
    store = create_store({"type": "concurrent_redis", "host": server.host, "port": server.port}, Limits())
    assert isinstance(store, ConcurrentRedisLockStore)
    await store.open()
    with redis.Redis(host=server.host, port=server.port, db=1) as client:
        yield Crowd(store, client)
    await store.close()


async def test_a_page_of_very_many_lines_is_two_round_trips(crowd: Crowd) -> None:
    await crowd.store.statistics(PAGE)  # which raises the times since when somebody waits
    with crowd.counted() as first:
        survey = await crowd.store.statistics(PAGE)
    tickets = MANY + sum(LONG.values()) - len(LONG)
    assert (survey.lines, survey.tickets, survey.waiting) == (MANY, tickets, tickets - MANY)
    assert [line.tickets for line in survey.longest] == sorted(LONG.values(), reverse=True)[:PAGE]
    assert all(line.head and line.head.claim for line in survey.longest)
    assert survey.complete
    # The one in the longest line came first. The clock has gone on since.
    assert survey.oldest_wait_ms is not None
    assert survey.oldest_wait_ms >= max(LONG.values()) * 1000 - 2
    # Five commands and a script for each shard; six, a few of them again for where somebody waits, for each line.
    assert first["round trips"] == 2
    assert first["commands"] <= SHARDS * 6 + (PAGE + 64) * 7
    with crowd.counted() as later:
        page = await crowd.store.statistics(PAGE, 5_000)
    assert len(page.longest) == PAGE
    assert later["round trips"] == 2
    assert later["commands"] <= first["commands"] + PAGE * 7


async def test_the_pages_of_very_many_lines_have_each_line_once_and_in_order(crowd: Crowd) -> None:
    pages = [await crowd.store.statistics(1000, start) for start in range(0, 10_000, 1000)]
    seen = [(-line.tickets, line.conversation_id) for page in pages for line in page.longest]
    everybody = [(-LONG.get(name, 1), name) for name in (f"conversation {place}" for place in range(MANY))]
    assert seen == sorted(everybody)[:10_000]


async def test_one_of_very_many_is_found_by_looking_at_each_once(crowd: Crowd) -> None:
    with crowd.counted() as counts:
        assert await crowd.store.find("n 99999", 5) == ["conversation 99999"]
    assert counts["commands"] <= 2 * SHARDS * 3  # a shard has more than a thousand lines, and less than two thousand
    assert await crowd.store.find("conversation 9999", 3) == [
        "conversation 9999",
        "conversation 99990",
        "conversation 99991",
    ]


async def test_one_line_costs_the_same_among_very_many(crowd: Crowd) -> None:
    with crowd.counted() as counts:
        lock, _ = await crowd.store.view("conversation 7")
    assert lock is not None
    assert len(lock.tickets) == 7
    assert counts["round trips"] == 1
    assert counts["commands"] <= 5 + 7
    with crowd.counted() as counts:
        await crowd.store.backlog()
    assert (counts["round trips"], counts["commands"]) == (1, SHARDS * 6)


async def test_their_index_follows_what_happens(crowd: Crowd) -> None:
    before = await crowd.store.statistics(1)
    longest = before.longest[0]
    assert longest.head is not None
    for outcome in await crowd.store.apply(
        [
            Release(longest.conversation_id, longest.head.number),
            Release("conversation 0", 1),
            Expire("conversation 1", 1),
        ]
    ):
        assert not isinstance(outcome, ConversationError)
    after = await crowd.store.statistics(1)
    assert (after.lines, after.tickets) == (before.lines - 1, before.tickets - 2)
    assert await crowd.store.find("conversation 0", 1) == []
    assert after.longest[0].conversation_id == "conversation 118"
