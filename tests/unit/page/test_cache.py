"""Answers that are kept for a moment: the clock is given, and who answers is let go when the test says so."""

import asyncio

import pytest

from daemon.http.cache import Cache, Pace

KEPT_S = 1.0
PACE = Pace(least_s=KEPT_S, times=10, most_s=30.0)


class Oracle:
    """Answers with how often it was asked, and takes as long on the clock as it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.takes_s = 0.0
        self.asked = 0
        self.together = 0
        self.most_together = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self) -> int:
        self.asked += 1
        number = self.asked
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await self.gate.wait()
        self.together -= 1
        self.now += self.takes_s
        return number

    async def fail(self) -> int:
        self.asked += 1
        raise ValueError("no")


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


def cache_of(oracle: Oracle, most: int = 10, at_once: int = 2, pace: Pace = PACE) -> Cache[int]:
    return Cache(most, at_once, pace, lambda: oracle.now)


async def test_an_answer_is_kept_for_its_time_and_then_asked_for_again(oracle: Oracle) -> None:
    cache = cache_of(oracle)
    assert await cache.get("q", oracle.answer) == 1
    oracle.now += KEPT_S - 0.01
    assert await cache.get("q", oracle.answer) == 1
    oracle.now += 0.02
    assert await cache.get("q", oracle.answer) == 2


async def test_many_who_ask_at_once_cost_one(oracle: Oracle) -> None:
    cache = cache_of(oracle)
    assert await asyncio.gather(*(cache.get("q", oracle.answer) for _ in range(50))) == [1] * 50


async def test_an_answer_that_took_long_is_kept_longer(oracle: Oracle) -> None:
    cache = cache_of(oracle)
    oracle.takes_s = 0.5
    await cache.get("q", oracle.answer)
    oracle.now += 4.9
    assert await cache.get("q", oracle.answer) == 1
    oracle.now += 0.2
    assert await cache.get("q", oracle.answer) == 2


async def test_who_goes_away_does_not_take_the_answer_from_the_others(oracle: Oracle) -> None:
    cache = cache_of(oracle)
    oracle.gate.clear()
    first, second = (asyncio.ensure_future(cache.get("q", oracle.answer)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    oracle.gate.set()
    assert await second == 1
    assert first.cancelled() or isinstance(await asyncio.gather(first, return_exceptions=True), list)


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(oracle: Oracle) -> None:
    cache = cache_of(oracle)
    told = await asyncio.gather(*(cache.get("q", oracle.fail) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in told] == ["no"] * 3
    assert oracle.asked == 1
    assert await cache.get("q", oracle.answer) == 2


async def test_few_questions_are_asked_at_once(oracle: Oracle) -> None:
    cache = cache_of(oracle, at_once=2)
    oracle.gate.clear()
    asking = [asyncio.ensure_future(cache.get(number, oracle.answer)) for number in range(6)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert oracle.together == 2
    oracle.gate.set()
    await asyncio.gather(*asking)
    assert (oracle.asked, oracle.most_together) == (6, 2)


async def test_a_bounded_number_of_answers_is_kept(oracle: Oracle) -> None:
    cache = cache_of(oracle, most=3)
    for number in range(10):
        await cache.get(number, oracle.answer)
    assert await cache.get(9, oracle.answer) == 10
    assert await cache.get(0, oracle.answer) == 11
    assert len(cache._kept) == 3


async def test_a_failure_is_kept_where_the_pace_says_so(oracle: Oracle) -> None:
    cache = cache_of(oracle, pace=Pace(least_s=5.0, times=20, failure_s=5.0))
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await cache.get("q", oracle.fail)
    assert oracle.asked == 1
    oracle.now += 5.1
    assert await cache.get("q", oracle.answer) == 2
    assert cache.newest("q") is not None
    assert cache.newest("never asked") is None


async def test_questions_that_only_fail_do_not_fill_the_memory(oracle: Oracle) -> None:
    cache = cache_of(oracle, most=3, pace=Pace(least_s=5.0, times=20, failure_s=5.0))
    for number in range(50):
        with pytest.raises(ValueError, match="no"):
            await cache.get(number, oracle.fail)
    assert len(cache._until) <= 6
