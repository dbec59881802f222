"""Questions to store and broker: one at a time, not too often, and nobody waits for long."""

import asyncio

import pytest

from daemon.http import poller as census
from daemon.http.poller import EVERY_S, PolledAnswer
from lockstore.errors import StoreUnavailableError


class Asked:
    """Something to ask, on a clock of the test's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.times = 0
        self.takes_s = 0.0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.kept = PolledAnswer(self._ask, lambda: self.now)

    async def _ask(self) -> int:
        self.times += 1
        await self.gate.wait()
        self.now += self.takes_s
        if self.away:
            raise StoreUnavailableError("away")
        return self.times

    async def after(self, seconds: float) -> int | None:
        self.now += seconds
        await self.kept.renew()
        return self.kept.newest


async def test_an_answer_is_kept_for_some_seconds() -> None:
    asked = Asked()
    assert await asked.after(0) == 1
    assert await asked.after(EVERY_S - 0.1) == 1
    assert await asked.after(0.2) == 2
    assert asked.times == 2


async def test_a_question_that_takes_long_is_asked_less_often() -> None:
    asked = Asked()
    asked.takes_s = 2.0
    await asked.after(0)
    assert await asked.after(2 * EVERY_S) == 1
    assert await asked.after(40) == 2


async def test_nobody_waits_long_and_many_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "_SCRAPE_S", 0.01)
    asked = Asked()
    await asked.after(0)
    asked.gate.clear()
    found = await asyncio.gather(*(asked.after(EVERY_S) for _ in range(5)))
    assert found == [1] * 5  # the answer before
    assert asked.times == 2
    asked.gate.set()
    await asyncio.sleep(0.01)
    assert asked.kept.newest == 2


async def test_no_answer_leaves_the_one_before_until_it_is_too_old() -> None:
    asked = Asked()
    assert await asked.after(0) == 1
    asked.away = True
    assert await asked.after(2 * EVERY_S) == 1
    assert asked.kept.age_s == 2 * EVERY_S
    assert await asked.after(1000) is None
    asked.away = False
    assert await asked.after(EVERY_S) == 4


async def test_an_answer_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "_ANSWER_S", 0.01)
    asked = Asked()
    asked.gate.clear()
    assert await asked.after(0) is None
    asked.gate.set()
    assert await asked.after(EVERY_S) == 2
