"""The task group: errors as a group, cancellations never lost, and none left behind."""

import asyncio
from contextlib import suppress

import pytest

from lockstore.util.task_group import TaskGroup


class FaultError(Exception):
    """What a task of these tests raises."""


async def fail(after: asyncio.Event | None = None) -> None:
    if after is not None:
        await after.wait()
    raise FaultError


def requests() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def settle() -> None:
    """Let everything run that can, and receive a cancellation that was left behind."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_tasks_are_awaited_and_return_their_results() -> None:
    async with TaskGroup() as tasks:
        running = [tasks.create_task(asyncio.sleep(0.001 * place, place)) for place in range(5)]
    assert [task.result() for task in running] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("moment", ["in the body", "while the group waits", "as the body ends"])
async def test_a_failing_task_leaves_no_request_to_cancel_behind(moment: str) -> None:
    go = asyncio.Event()
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup() as tasks:
            other = tasks.create_task(asyncio.sleep(3600))
            failing = tasks.create_task(fail(go))
            await asyncio.sleep(0)
            if moment == "while the group waits":
                asyncio.get_running_loop().call_soon(go.set)
            else:
                go.set()
            if moment == "in the body":
                await asyncio.sleep(3600)
            elif moment == "as the body ends":
                # The error is noted in the next turn of the loop, and the body goes on in the same one.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
    assert [type(error) for error in caught.value.exceptions] == [FaultError]
    assert other.cancelled()
    assert failing.done()
    assert requests() == 0
    await settle()


async def test_errors_of_several_tasks_and_of_the_body_are_raised_together() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise FaultError

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(fail_when_cancelled())
            await asyncio.sleep(0)
            raise ValueError
    assert [type(error) for error in caught.value.exceptions] == [FaultError, FaultError, ValueError]
    assert requests() == 0


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_from_outside_has_priority_over_an_error_at_the_same_time(turns: int) -> None:
    go = asyncio.Event()
    ended: list[bool] = []

    async def work() -> None:
        try:
            async with TaskGroup() as tasks:
                tasks.create_task(fail(go))
                tasks.create_task(asyncio.sleep(3600))
        finally:
            ended.append(True)

    working = asyncio.create_task(work())
    await settle()
    go.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    was_over = bool(ended)
    working.cancel()
    with suppress(asyncio.CancelledError, ExceptionGroup):
        await working
    assert ended
    assert working.cancelled() or was_over


async def test_tasks_that_are_slow_to_end_are_awaited_however_often_the_parent_is_cancelled() -> None:
    release, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await release.wait()
            ended.set()

    async def work() -> None:
        async with TaskGroup() as tasks:
            tasks.create_task(slow())

    working = asyncio.create_task(work())
    await settle()
    for _ in range(3):
        working.cancel()
        await settle()
    assert not working.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


async def test_a_task_that_ends_as_cancelled_is_not_an_error() -> None:
    async with TaskGroup() as tasks:
        task = tasks.create_task(asyncio.sleep(3600))
        await settle()
        task.cancel()
    assert requests() == 0


async def test_a_group_that_is_ending_takes_no_more_tasks() -> None:
    tasks = TaskGroup()
    with pytest.raises(ExceptionGroup):
        async with tasks:
            tasks.create_task(fail())
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            with pytest.raises(RuntimeError):
                tasks.create_task(asyncio.sleep(0))
    with pytest.raises(RuntimeError):
        tasks.create_task(asyncio.sleep(0))
