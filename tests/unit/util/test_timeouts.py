"""A limit of time takes back its own cancellation and never anybody else's, on every Python that the client supports."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import permutations

import pytest

from lockstore.util.cancellation import CancelRequest, cancelling, uncancel
from lockstore.util.timeouts import Timeout, timeout, timeout_at


async def nap() -> None:
    await asyncio.sleep(3600)


async def test_what_takes_too_long_is_cancelled_and_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(0.001) as scope:
            await nap()
    assert scope.expired()
    task = asyncio.current_task()
    assert task is not None
    assert cancelling(task) == 0
    await asyncio.sleep(0)


@pytest.mark.parametrize("limit_s", [None, 3600])
async def test_what_is_done_in_time_is_not_disturbed(limit_s: float | None) -> None:
    async with timeout(limit_s) as scope:
        await asyncio.sleep(0)
    assert not scope.expired()
    with pytest.raises(RuntimeError):
        scope.reschedule(None)


async def test_an_error_of_the_body_is_the_error() -> None:
    with pytest.raises(KeyError):
        async with timeout_at(asyncio.get_running_loop().time()):
            try:
                await nap()
            finally:
                raise KeyError("of the body")


async def test_the_time_can_be_changed() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with timeout(3600) as scope:
            scope.reschedule(None)
            assert scope.when() is None
            scope.reschedule(loop.time() + 3600)
            scope.reschedule(loop.time() - 1)
            await nap()
    assert scope.expired()


async def test_of_two_limits_the_one_whose_time_is_over_raises() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(0.001) as outer, timeout(3600) as inner:
            await nap()
    assert (outer.expired(), inner.expired()) == (True, False)
    async with timeout(3600) as outer:
        with pytest.raises(TimeoutError):
            async with timeout(0.001):
                await nap()
    assert not outer.expired()


@pytest.mark.parametrize("apart", [0, 1], ids=["at once", "a step apart"])
@pytest.mark.parametrize("order", list(permutations(["cancel", "expire", "result"], 2)), ids="-".join)
async def test_a_cancellation_that_comes_together_with_anything_else_is_not_lost(
    order: tuple[str, str], apart: int
) -> None:
    result = asyncio.get_running_loop().create_future()
    scopes: list[Timeout] = []

    async def work() -> None:
        request = CancelRequest()
        try:
            async with timeout(3600) as scope:
                scopes.append(scope)
                await result
        except TimeoutError as error:
            request.check(error)
            raise
        request.check()

    def act(what: str) -> None:
        if what == "cancel":
            task.cancel()
        elif what == "expire":
            scopes[0].reschedule(0)
        elif not result.done():
            result.set_result(None)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    act(order[0])
    for _ in range(apart):
        await asyncio.sleep(0)
    is_late = task.done()
    if not is_late:
        act(order[1])
    await asyncio.wait({task})
    if "cancel" in order and not (is_late and order[0] != "cancel"):
        assert task.cancelled()
    else:
        assert isinstance(task.exception(), TimeoutError | None)


@pytest.mark.parametrize("wrapped", [asyncio.shield, asyncio.wait_for], ids=["shield", "wait_for"])
async def test_a_cancellation_through_what_libraries_wrap_is_counted(wrapped: Callable[..., Awaitable[None]]) -> None:
    counted: list[int] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert cancelling(task) == 0
        arguments = [3600] if wrapped is asyncio.wait_for else []
        try:
            await wrapped(asyncio.sleep(3600), *arguments)
        except asyncio.CancelledError:
            counted.append(cancelling(task))
            counted.append(uncancel(task))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert counted == [1, 0]


async def test_a_request_that_has_not_arrived_yet_is_a_new_one() -> None:
    async def work() -> bool:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        request = CancelRequest()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return request.is_made
        return False

    assert await asyncio.create_task(work())
