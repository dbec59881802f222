"""The page with 100,000 conversations in a real Redis: what it costs is counted, in commands and in bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from redis import Redis

from daemon.http.server import HttpServer
from daemon.http.status_page.reader import PAGE_LINES
from harness import RedisServer
from lockstore.core.rules import Limits
from lockstore.core.statistics import DEEPEST
from lockstore.factory import create_store
from tests.page.stage import Stage
from tests.support.crowd import fill

FEW, MANY = 10_000, 100_000
PAGE_MOST_BYTES: Final = 100_000


class Counted:
    """A site on a real store, and how many commands its Redis has run."""

    def __init__(self, url: str, redis: Redis, session: aiohttp.ClientSession, stage: Stage) -> None:
        self.url = url
        self._redis = redis
        self._session = session
        self._stage = stage

    async def page(self, place: str = "") -> str:
        async with self._session.get(self.url + place) as answer:
            assert answer.status == 200
            return await answer.text()

    async def commands_of(self, *places: str) -> int:
        """Count the commands that it takes to show these places at once, to somebody who comes later."""
        self._stage.forget()
        before = self._commands()
        await asyncio.gather(*map(self.page, places))
        return self._commands() - before

    def _commands(self) -> int:
        stats: Any = self._redis.info("commandstats")
        return sum(stat["calls"] for name, stat in stats.items() if name not in ("cmdstat_info", "cmdstat_ping"))


@asynccontextmanager
async def site_with(lines: int) -> AsyncIterator[Counted]:
    async with RedisServer(persistence="no") as server:
        redis = Redis(host=server.host, port=server.port, db=1)
        fill(redis, {f"user-{number:06}": 1 + (number % 50 == 0) * (number % 7) for number in range(lines)})
        section = {"type": "concurrent_redis", "host": server.host, "port": server.port}
        store = create_store(section, Limits())
        await store.open()
        for _ in range(10):
            await store.statistics(0)  # which learn by and by since when somebody waits in each line
        stage = Stage(store=store)
        async with HttpServer("127.0.0.1", 0, stage.application()) as http, aiohttp.ClientSession() as session:
            yield Counted(http.url, redis, session, stage)
        await store.close()
        redis.close()


@pytest.mark.slow
async def test_a_hundred_thousand_conversations_cost_no_more_than_ten_thousand() -> None:
    async with site_with(FEW) as few:
        cost_of_few = await few.commands_of("")
        size_of_few = len(await few.page())
    async with site_with(MANY) as many:
        text = await many.page()
        assert "100\u202f000" in text
        assert text.count("<tr") == PAGE_LINES + 1
        assert len(text) < min(PAGE_MOST_BYTES, 1.2 * size_of_few)
        # A little more: of the lines in which somebody waits, a number that has a limit is looked at, and few have fewer.
        cost = await many.commands_of("")
        assert cost <= 1.5 * cost_of_few
        # Who looks at the same at the same time costs nothing, nor do those who come a moment later.
        assert await many.commands_of(*[""] * 30) <= 1.2 * cost
        # The last page of the list is far down: each shard gives more of its index, in no more steps.
        deep = f"?start={DEEPEST - PAGE_LINES}"
        assert await many.commands_of(deep) <= 3 * cost
        assert (await many.page(deep)).count("<tr") == PAGE_LINES + 1
        assert ">user-09999</bdi>" not in await many.page("?find=user-0999")
        found = await many.page("?find=user-09999")
        assert found.count("<tr") == 10 + 1
        assert await many.commands_of("?find=user-09998") <= 5 * cost
